//! Signed zones, as validators of other makes see them.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use tidegate_tests::binary;
use tidegate_tests::eventually::{SOON, eventually};
use tidegate_tests::name_server::NameServer;
use tidegate_tests::question::{query, read};
use tidegate_tests::validator::{Unbound, changes, delv, ds_records};

/// A signed zone with a delegation to a signed zone and one to a zone that is not, all on this server.
fn zones(algorithm: &str, child_ds: &str, more: &str) -> String {
    format!(
        r#"
[dnssec]
keys = "keys"

[[zone]]
name = "example.test"
file = "example.zone"
dnssec = {{ algorithm = "{algorithm}" {more} }}

[[zone.record]]
name = "geo"
type = "A"
policy = "sites"

[[zone.record]]
name = "*.geo"
type = "A"
policy = "sites"

{child_ds}

[[zone]]
name = "secure.example.test"
ns = ["ns"]
dnssec = {{ algorithm = "{algorithm}" }}
record = [
    {{ name = "ns", type = "A", values = ["127.0.0.1"] }},
    {{ name = "www", type = "A", values = ["192.0.2.81"] }},
]

[[zone]]
name = "insecure.example.test"
ns = ["ns"]
record = [
    {{ name = "ns", type = "A", values = ["127.0.0.1"] }},
    {{ name = "www", type = "A", values = ["192.0.2.82"] }},
]

[[site]]
name = "west"

[[site]]
name = "east"

[geo]
networks = {{ "198.51.100.0/24" = "east" }}
default = "west"

[policy.sites.private]
endpoints = [
    {{ address = "192.0.2.91", site = "west" }},
    {{ address = "192.0.2.92", site = "east" }},
]
"#
    )
}

const ZONES: [&str; 3] = [
    "example.test.",
    "secure.example.test.",
    "insecure.example.test.",
];

const ZONE: &str = r#"
$TTL 60
@ SOA ns hostmaster 1 1h 1h 1h 30
@ NS ns
@ MX 10 www
@ CAA 0 issue "ca.example"
@ TXT "in" "two"
ns A 127.0.0.1
www A 192.0.2.1
www A 192.0.2.2
www AAAA 2001:db8::1
WwW TXT "Some Text"
_sip._tcp SRV 1 2 5060 WWW
long NAPTR 10 10 "S" "SIP+D2U" "" Www
https HTTPS 1 . alpn=h2,h3
alias CNAME WWW
chain CNAME alias
outside CNAME www.elsewhere.test.
towild CNAME one.wild
tonowhere CNAME nowhere
a.between A 192.0.2.3
*.wild A 192.0.2.4
*.wild MX 5 www
there.wild A 192.0.2.5
*.also CNAME www
tree DNAME forest
a.forest A 192.0.2.6
secure NS ns.secure
ns.secure A 127.0.0.1
insecure NS ns.insecure
ns.insecure A 127.0.0.1
"#;

/// Names and types, and what delv must say of each but for who signs.
const QUESTIONS: [(&str, &str, &str); 33] = [
    ("@", "SOA", "IN\tSOA"),
    ("@", "NS", "IN\tNS"),
    ("@", "DNSKEY", "IN\tDNSKEY\t257"),
    ("@", "MX", "10 www.example.test."),
    ("@", "CAA", "ca.example"),
    ("@", "TXT", "\"in\" \"two\""),
    ("@", "AAAA", "negative response, fully validated"),
    ("www.", "A", "192.0.2.2"),
    ("www.", "AAAA", "2001:db8::1"),
    ("www.", "TXT", "\"Some Text\""),
    ("wWW.", "A", "192.0.2.1"),
    ("www.", "MX", "negative response, fully validated"),
    ("_sip._tcp.", "SRV", "1 2 5060 WWW.example.test."),
    ("long.", "NAPTR", "SIP+D2U"),
    ("https.", "HTTPS", "1 . alpn"),
    ("alias.", "A", "192.0.2.1"),
    ("alias.", "MX", "www.example.test. NSEC \\000.www"),
    ("chain.", "AAAA", "2001:db8::1"),
    ("outside.", "CNAME", "www.elsewhere.test."),
    ("towild.", "A", "192.0.2.4"),
    (
        "tonowhere.",
        "A",
        "NSEC \\000.nowhere.example.test. RRSIG NSEC TYPE128",
    ),
    (
        "between.",
        "A",
        "NSEC \\000.between.example.test. RRSIG NSEC",
    ),
    ("a.between.", "A", "192.0.2.3"),
    (
        "nope.",
        "A",
        "NSEC \\000.nope.example.test. RRSIG NSEC TYPE128",
    ),
    (
        "deep.below.nope.",
        "A",
        "negative response, fully validated",
    ),
    ("any.wild.", "A", "192.0.2.4"),
    ("Two.Any.wild.", "MX", "5 www.example.test."),
    (
        "any.wild.",
        "TXT",
        "NSEC \\000.any.wild.example.test. A MX RRSIG NSEC",
    ),
    ("*.wild.", "A", "192.0.2.4"),
    ("there.wild.", "MX", "negative response, fully validated"),
    ("any.also.", "AAAA", "2001:db8::1"),
    ("a.tree.", "A", "192.0.2.6"),
    ("secure.", "DS", "negative response, fully validated"),
];

async fn server(algorithm: &str) -> NameServer {
    let configuration = zones(algorithm, "", "");
    NameServer::start(&configuration, |folder| {
        fs::write(folder.join("example.zone"), ZONE).expect("it is there");
    })
    .await
}

const HANDOVER: &str = "handover = { socket = \"dns.sock\" }\n";

fn dig(server: SocketAddr, args: &[&str]) -> String {
    let output = Command::new("dig")
        .arg(format!("@{}", server.ip()))
        .args(["-p", &server.port().to_string()])
        .args(args)
        .output()
        .expect("make setup-tests");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn ds(server: &NameServer) -> Vec<String> {
    ds_records(&server.folder.path().join("dns.toml"))
}

/// Lets the parent have the DS records of its child.
async fn delegate(server: &NameServer, algorithm: &str) {
    let ds = ds(server);
    let child = ds.iter().find(|record| record.starts_with("secure."));
    let data = child
        .expect("it is there")
        .split_once(" DS ")
        .expect("it is there")
        .1;
    let record =
        format!("[[zone.record]]\nname = \"secure\"\ntype = \"DS\"\nvalues = [\"{data}\"]\n");
    server.configure(&zones(algorithm, &record, ""));
    assert_eq!(server.admin.reload().await.status, 200);
}

fn whole(name: &str) -> String {
    match name {
        "@" => "example.test.".to_owned(),
        name => format!("{name}example.test."),
    }
}

#[tokio::test]
async fn delv_validates_what_is_there_and_what_is_not_with_both_algorithms() {
    for algorithm in ["ecdsa-p256", "ed25519"] {
        let server = server(algorithm).await;
        let ds = ds(&server);
        for (name, kind, expected) in QUESTIONS {
            for transport in ["+notcp", "+tcp"] {
                let name = whole(name);
                let question = [name.as_str(), kind, transport];
                let said = delv(server.address, "example.test.", &ds, &question);
                assert!(
                    said.contains("fully validated"),
                    "{algorithm} {question:?}: {said}"
                );
                let (lower, expected) = (said.to_lowercase(), expected.to_lowercase());
                assert!(
                    lower.contains(&expected),
                    "{algorithm} {question:?}: {said}"
                );
            }
        }
    }
}

#[tokio::test]
async fn unbound_validates_from_the_parent_down() {
    let server = server("ecdsa-p256").await;
    delegate(&server, "ecdsa-p256").await;
    let ds = ds(&server);
    let unbound = Unbound::start(&ZONES, server.address, &ds);
    for (name, kind, _) in QUESTIONS {
        let (name, _) = (whole(name), ());
        if name.starts_with("outside.") {
            continue;
        }
        let said = unbound.dig(&[&name, kind]);
        assert!(said.contains("status: NOERROR"), "{name} {kind}: {said}");
        assert!(
            said.contains(" ad;") || said.contains(" ad "),
            "{name} {kind}: {said}"
        );
    }
    for (name, secure, address) in [
        ("www.secure.example.test", true, "192.0.2.81"),
        ("www.insecure.example.test", false, "192.0.2.82"),
    ] {
        let said = unbound.dig(&[name, "A"]);
        assert!(said.contains(address), "{said}");
        assert_eq!(said.contains(" ad;"), secure, "{said}");
    }
    // With the keys of somebody else nothing validates.
    let other = ["example.test. IN DS 12345 13 2 00".to_owned() + &"11".repeat(31)];
    let unbound = Unbound::start(&ZONES, server.address, &other);
    let said = unbound.dig(&["www.example.test", "A"]);
    assert!(said.contains("status: SERVFAIL"), "{said}");
}

#[tokio::test]
async fn what_somebody_changed_on_its_way_does_not_validate() {
    let server = server("ed25519").await;
    let ds = ds(&server);
    let changed = changes(server.address, &[192, 0, 2, 1], &[192, 0, 2, 66]);
    let said = delv(changed, "example.test.", &ds, &["www.example.test", "A"]);
    assert!(!said.contains("fully validated"), "{said}");
    assert!(said.contains("no valid signature found"), "{said}");
    // The bit of the type AAAA: the name has AAAA records, and is said to have none.
    let changed = changes(server.address, b"\0\x06\x40\0\0\0\0", b"\0\x06\0\0\0\0\0");
    let said = delv(
        changed,
        "example.test.",
        &ds,
        &["a.between.example.test", "MX"],
    );
    assert!(!said.contains("fully validated"), "{said}");
    let said = delv(
        server.address,
        "example.test.",
        &ds,
        &["a.between.example.test", "MX"],
    );
    assert!(
        said.contains("negative response, fully validated"),
        "{said}"
    );
}

#[tokio::test]
async fn signatures_are_made_anew_before_they_end_and_a_successor_goes_on() {
    let more = ", validity = \"8s\", refresh = \"4s\"";
    let server = NameServer::start(
        &format!("{HANDOVER}{}", zones("ed25519", "", more)),
        |folder| {
            fs::write(folder.join("example.zone"), ZONE).unwrap();
        },
    )
    .await;
    let ds = ds(&server);
    let valid = || {
        for name in [
            "www.example.test",
            "nope.example.test",
            "any.wild.example.test",
        ] {
            let said = delv(server.address, "example.test.", &ds, &[name, "A"]);
            assert!(said.contains("fully validated"), "{said}");
        }
    };
    let end = || {
        let answer = dig(
            server.address,
            &["www.example.test", "A", "+dnssec", "+short"],
        );
        let signature = answer
            .lines()
            .find(|line| line.starts_with("A 15 "))
            .unwrap();
        signature.split(' ').nth(4).unwrap().to_owned()
    };
    for _ in 0..2 {
        let before = end();
        eventually(
            "signatures are others",
            Duration::from_secs(20),
            async || {
                valid();
                (end() != before).then_some(())
            },
        )
        .await;
    }
    let left = "tidegate_dns_signature_seconds{zone=\"example.test.\"}";
    assert!(server.admin.metric(left).await > Some(1.0));
    let successor = server.hand_over();
    let before = end();
    eventually(
        "its signatures are others",
        Duration::from_secs(20),
        async || {
            valid();
            (end() != before).then_some(())
        },
    )
    .await;
    assert_eq!(ds_records(&server.folder.path().join("dns.toml")), ds);
    tidegate_tests::process::send(successor, rustix::process::Signal::TERM);
}

#[tokio::test]
async fn each_client_of_a_policy_gets_an_answer_that_validates() {
    let server = server("ed25519").await;
    let ds = ds(&server);
    for (name, client, address) in [
        ("geo.example.test", "203.0.113.0/24", "192.0.2.91"),
        ("geo.example.test", "198.51.100.0/24", "192.0.2.92"),
        ("one.geo.example.test", "198.51.100.0/24", "192.0.2.92"),
    ] {
        let subnet = format!("+subnet={client}");
        let said = dig(server.address, &[name, "A", "+dnssec", "+short", &subnet]);
        assert!(said.starts_with(&format!("{address}\nA 15 ")), "{said}");
        // delv tells no subnet, and is on loopback: it gets what the default site gets.
        let said = delv(server.address, "example.test.", &ds, &[name, "A"]);
        assert!(
            said.contains("fully validated") && said.contains("192.0.2.91"),
            "{said}"
        );
        let said = delv(server.address, "example.test.", &ds, &[name, "AAAA"]);
        assert!(
            said.contains("negative response, fully validated"),
            "{said}"
        );
    }
}

#[tokio::test]
async fn clients_that_want_no_signatures_get_none_and_others_are_told_of_names_as_they_can_take_it()
{
    let server = server("ed25519").await;
    let dig = |args: &[&str]| dig(server.address, args);
    let plain = dig(&["nope.example.test", "A"]);
    assert!(
        plain.contains("status: NXDOMAIN") && !plain.contains("RRSIG"),
        "{plain}"
    );
    let dnssec = dig(&["nope.example.test", "A", "+dnssec"]);
    assert!(
        dnssec.contains("status: NOERROR") && dnssec.contains("RRSIG"),
        "{dnssec}"
    );
    let mut packet = query(7, "nope.example.test", "A");
    let flags = packet.len() - 4;
    // DO and CO, which dig cannot set.
    packet[flags] = 0xC0;
    let socket = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    socket.send_to(&packet, server.address).unwrap();
    let mut answer = [0; 4096];
    let length = socket.recv(&mut answer).unwrap();
    let compact = read(&answer[..length]);
    assert_eq!(compact.head, "NXDOMAIN qr aa");
    assert_eq!(compact.sections[1].len(), 4);
    let nxname = dig(&["nope.example.test", "TYPE128", "+dnssec"]);
    assert!(nxname.contains("status: FORMERR"), "{nxname}");
    let insecure = dig(&["www.insecure.example.test", "A", "+dnssec"]);
    assert!(!insecure.contains("RRSIG"), "{insecure}");
}

#[tokio::test]
async fn a_flood_of_invented_names_is_bounded_and_sent_to_tcp() {
    let configuration = zones("ed25519", "", "")
        .replace("keys = \"keys\"", "keys = \"keys\"\nonline_signatures = 2");
    let server = NameServer::start(&format!("threads = 1\n{configuration}"), |folder| {
        fs::write(folder.join("example.zone"), ZONE).unwrap();
    })
    .await;
    let ask = |name: &str, more: &[&str]| {
        let question = [name, "A", "+dnssec", "+ignore"];
        dig(server.address, &[&question, more].concat())
    };
    let mut cut = None;
    for number in 0..100 {
        let said = ask(&format!("n{number}.example.test"), &[]);
        if said.contains(" tc ") {
            cut = Some(said);
            break;
        }
        assert!(said.contains("TYPE128"), "{said}");
    }
    assert!(cut.unwrap().contains("ANSWER: 0, AUTHORITY: 0"));
    // What was signed before, and what needs no signature, is answered on.
    assert!(ask("n0.example.test", &[]).contains("TYPE128"));
    assert!(ask("www.example.test", &[]).contains("RRSIG"));
    assert!(ask("later.example.test", &["+tcp"]).contains("TYPE128"));
    let refused = "tidegate_dns_online_signatures_total{result=\"refused\"}";
    assert!(server.admin.metric(refused).await > Some(0.0));
}

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
    let cds = dig(server.address, &["example.test", "CDS", "+short"]);
    assert_eq!(cds, "0 0 0 00\n");
    let cdnskey = dig(server.address, &["example.test", "CDNSKEY", "+short"]);
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
