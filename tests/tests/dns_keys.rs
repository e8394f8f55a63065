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

    /// Why it is not done.
    fn refused(&self, args: &[&str]) -> String {
        let mut command = Command::new(binary::path());
        command.args(["dns", "keys"]).args(args);
        let output = command.arg("-c").arg(&self.0).output();
        let output = output.expect("the binary starts");
        assert!(!output.status.success(), "{args:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
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
    let more = ", validity = \"60s\", refresh = \"30s\", zsk_lifetime = \"8s\", key_ttl = \"1s\", ds_ttl = \"1s\", propagation = \"3s\"";
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
    let refused = operator.refused(&["roll", "example.test", "--role", "ksk"]);
    let told = "is announced, the next step comes after `ds-seen`";
    assert!(refused.contains("is being replaced already"), "{refused}");
    assert!(refused.contains(told), "{refused}");
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

#[tokio::test]
async fn a_zone_that_is_signed_again_waits_for_caches_again() {
    let server = server("ed25519").await;
    let file = server.folder.path().join("keys/example.test.keys.json");
    // As if it had been signed long ago.
    let text = fs::read_to_string(&file).unwrap();
    let mut keys: serde_json::Value = serde_json::from_str(&text).unwrap();
    keys["ring"]["signed_since"] = 1_700_000_000.into();
    fs::write(&file, keys.to_string()).unwrap();
    let signed = zones("ed25519", "", "");
    let reload = async |configuration: &str| {
        server.configure(configuration);
        assert_eq!(server.admin.reload().await.status, 200);
    };
    reload(&signed).await;
    let operator = Operator(server.folder.path().join("dns.toml"));
    let waits = || {
        operator
            .keys(&["ds", "example.test"])
            .contains("caches may have")
    };
    assert!(!waits());
    let unsigned = signed.replacen("dnssec = { algorithm = \"ed25519\"  }", "", 1);
    assert_ne!(unsigned, signed);
    reload(&unsigned).await;
    reload(&signed).await;
    assert!(waits());
    let cds = said("dig", server.address, &["example.test", "CDS", "+short"]);
    assert_eq!(cds, "", "the parent is not told yet");
}

/// Root may run them before the server's user has a folder.
#[test]
fn commands_make_no_folder() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("dns.toml");
    let listener = "[[listener]]\nname = \"dns\"\naddress = \"127.0.0.1:0\"\n";
    let admin = "admin = { address = \"127.0.0.1:0\" }\n";
    fs::write(&file, [admin, &zones("ed25519", "", ""), listener].concat()).unwrap();
    fs::write(folder.path().join("example.zone"), ZONE).unwrap();
    let operator = Operator(file);
    for args in [
        &["roll", "example.test", "--role", "zsk"][..],
        &["ds-seen", "example.test"],
    ] {
        let refused = operator.refused(args);
        assert!(refused.contains("start the server once"), "{refused}");
    }
    operator.keys(&["list"]);
    assert!(!folder.path().join("keys").exists());
}

#[tokio::test]
async fn a_key_file_that_is_repaired_is_read_at_once() {
    let server = server("ed25519").await;
    let operator = Operator(server.folder.path().join("dns.toml"));
    let file = server.folder.path().join("keys/example.test.keys.json");
    let sound = fs::read_to_string(&file).unwrap();
    // As an editor does it: another file of this name.
    let beside = file.with_extension("new");
    fs::copy(&file, &beside).unwrap();
    fs::write(&beside, "{").unwrap();
    fs::rename(&beside, &file).unwrap();
    eventually("the log says so", SOON, async || {
        let log = server.process.stderr();
        log.contains("not a file of keys").then_some(())
    })
    .await;
    // In place, with a wish in it, whose fulfilment shows that it was read.
    let wish = sound.replacen("\"longest\"", "\"wanted\": [\"ksk\"], \"longest\"", 1);
    assert_ne!(wish, sound);
    fs::write(&file, wish).unwrap();
    eventually("it is read", Duration::from_secs(4), async || {
        (operator.tags("ksk").len() == 2).then_some(())
    })
    .await;
}
