//! The keys of signed zones, over restarts, refusals and roll-overs.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use tidegate_tests::binary;
use tidegate_tests::eventually::{SOON, eventually};
use tidegate_tests::name_server::{NameServer, said};
use tidegate_tests::signed_zones::{ZONE, ds, server, zones};
use tidegate_tests::validator::{delv, ds_records};

#[tokio::test]
async fn keys_are_kept_over_restarts_and_files_that_others_may_read_are_refused() {
    let mut server = server("ed25519").await;
    let before = ds(&server);
    server.restart().await;
    assert_eq!(ds(&server), before);
    // Keys that are lost while they serve are not replaced by others.
    let file = server.folder.path().join("keys/example.test.keys.json");
    fs::remove_file(&file).unwrap();
    eventually("the file is there again", SOON, async || {
        file.exists().then_some(())
    })
    .await;
    assert_eq!(ds(&server), before);
    // The algorithm of keys that the parent knows cannot be another.
    server.configure(&zones("ecdsa-p256", "", ""));
    let answer = server.admin.reload().await;
    let told = "and that cannot be changed while it is signed";
    assert!(answer.text().contains(told), "{}", answer.text());
    // With `withdraw` the parent is asked to forget them.
    server.configure(&zones("ed25519", "", ", withdraw = true"));
    assert_eq!(server.admin.reload().await.status, 200);
    let cds = said("dig", server.address, &["example.test", "CDS", "+short"]);
    assert_eq!(cds, "0 0 0 00\n");
    let cdnskey = said(
        "dig",
        server.address,
        &["example.test", "CDNSKEY", "+short"],
    );
    assert_eq!(cdnskey, "0 3 0 AA==\n");
    server.configure(&zones("ed25519", "", ""));
    assert_eq!(server.admin.reload().await.status, 200);
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let answer = server.admin.reload().await;
    assert_eq!(answer.status, 422);
    assert!(
        answer
            .text()
            .contains("others may read these keys (mode 0644)"),
        "{}",
        answer.text()
    );
    let said = delv(
        server.address,
        "example.test.",
        &before,
        &["www.example.test", "A"],
    );
    assert!(said.contains("fully validated"), "{said}");
}

#[tokio::test]
async fn a_configuration_that_is_refused_makes_no_keys() {
    let server = server("ed25519").await;
    let file = server.folder.path().join("keys/other.test.keys.json");
    let other = |more: &str| {
        let sound = zones("ed25519", "", "");
        format!(
            "{sound}\n[[zone]]\nname = \"other.test\"\nns = [\"ns1.example.net.\"]\ndnssec = {{}}\n{more}"
        )
    };
    let text = |number| format!("\"{number:0255}\"");
    let long = (0..300).map(text).collect::<Vec<_>>().join(", ");
    for wrong in [
        "record = [{ name = \"www\", type = \"A\", policy = \"nowhere\" }]\n".to_owned(),
        format!("record = [{{ name = \"www\", type = \"TXT\", values = [{long}] }}]\n"),
    ] {
        server.configure(&other(&wrong));
        assert_eq!(server.admin.reload().await.status, 422);
        assert!(!file.exists(), "with {}", &wrong[..60]);
    }
    server.configure(&other(""));
    assert_eq!(server.admin.reload().await.status, 200);
    assert!(file.exists());
}

/// What an operator does with the keys of a server.
struct Operator(PathBuf);

impl Operator {
    fn keys(&self, args: &[&str]) -> String {
        let output = Command::new(binary::path())
            .args(["dns", "keys"])
            .args(args)
            .arg("-c")
            .arg(&self.0)
            .output()
            .expect("the binary starts");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{error}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The tags of the zone's keys of a role.
    fn tags(&self, role: &str) -> Vec<String> {
        let listed = self.keys(&["list", "example.test"]);
        let words = listed
            .lines()
            .map(|line| line.split(' ').filter(|word| !word.is_empty()));
        let of_role = words.filter(|words| words.clone().nth(1) == Some(role));
        of_role
            .filter_map(|mut words| words.nth(2).map(str::to_owned))
            .collect()
    }

    fn ds(&self) -> Vec<String> {
        let mut records = ds_records(&self.0);
        records.retain(|record| record.starts_with("example.test."));
        records
    }

    /// Everything validates for whoever trusts these DS records.
    fn validates(&self, server: &NameServer, ds: &[String]) {
        for name in ["www.example.test", "nope.example.test"] {
            let said = delv(server.address, "example.test.", ds, &[name, "A"]);
            let listed = || self.keys(&["list", "example.test"]);
            assert!(said.contains("fully validated"), "{said}\n{}", listed());
        }
    }
}

/// A server whose keys follow each other within seconds.
async fn hasty() -> NameServer {
    let more = ", validity = \"60s\", refresh = \"30s\", zsk_lifetime = \"8s\", key_ttl = \"1s\", ds_ttl = \"1s\", propagation = \"1s\"";
    let file = "file = \"example.zone\"";
    let short = format!("{file}\nttl = \"1s\"");
    let configuration = zones("ecdsa-p256", "", more).replace(file, &short);
    NameServer::start(&configuration, |folder| {
        let zone = ZONE.replace("$TTL 60", "$TTL 1");
        fs::write(folder.join("example.zone"), zone).expect("the folder is new");
    })
    .await
}

#[tokio::test]
async fn keys_of_one_zone_that_cannot_be_read_hold_up_no_other_zone() {
    use std::os::unix::fs::PermissionsExt;
    let server = hasty().await;
    let keys = server.folder.path().join("keys");
    let file = keys.join("secure.example.test.keys.json");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let asked = |name| said("dig", server.address, &[name, "DNSKEY", "+short"]);
    let (before, secure) = (asked("example.test"), asked("secure.example.test"));
    let in_time = Duration::from_secs(60);
    eventually(
        "the keys of another zone are replaced",
        in_time,
        async || (asked("example.test") != before).then_some(()),
    )
    .await;
    assert_eq!(asked("secure.example.test"), secure);
    let question = ["www.secure.example.test", "A", "+dnssec", "+short"];
    let signed = said("dig", server.address, &question);
    assert!(signed.contains(" secure.example.test. "), "{signed}");
    // Who reloads is told.
    let answer = server.admin.reload().await;
    assert_eq!(answer.status, 422);
    assert!(answer.text().contains("(mode 0644)"), "{}", answer.text());
}

/// A validator asks without a pause, with an empty cache each time: what caches may hold is in the tests of the state machine.
#[tokio::test]
async fn keys_are_replaced_while_everything_validates() {
    let server = hasty().await;
    let operator = Operator(server.folder.path().join("dns.toml"));
    let first = operator.ds();
    let zsk = operator.tags("zsk").remove(0);
    operator.keys(&["roll", "example.test", "--role", "ksk"]);
    eventually("the next KSK is announced", SOON, async || {
        operator.validates(&server, &first);
        (operator.tags("ksk").len() == 2).then_some(())
    })
    .await;
    // The parent takes both, as CDS says; only then may the new one sign.
    let both = operator.ds();
    assert_eq!(both.len(), 2);
    eventually("CDS tells of both keys", SOON, async || {
        let question = ["example.test", "CDS"];
        let cds = delv(server.address, "example.test.", &first, &question).replace(' ', "");
        let told = |record: &String| cds.contains(record.rsplit(' ').next().unwrap());
        both.iter().all(told).then_some(())
    })
    .await;
    operator.keys(&["ds-seen", "example.test"]);
    eventually(
        "both keys are others",
        Duration::from_secs(60),
        async || {
            operator.validates(&server, &both);
            let ksks = operator.tags("ksk");
            let followed = ksks.len() == 1 && !first[0].contains(&format!(" {} ", ksks[0]));
            (followed && !operator.tags("zsk").contains(&zsk)).then_some(())
        },
    )
    .await;
    operator.validates(&server, &operator.ds());
}
