//! Signed zones, as validators of other makes see them.

use std::fs;
use std::net::UdpSocket;
use std::time::Duration;

use tidegate_tests::eventually::{SOON, eventually};
use tidegate_tests::name_server::{NameServer, said};
use tidegate_tests::question::{query, read};
use tidegate_tests::signed_zones::{HANDOVER, ZONE, ZONES, delegate, ds, server, zones};
use tidegate_tests::validator::{Unbound, changes, delv, ds_records};

/// Names and types, and what delv must say of each but for who signs.
const QUESTIONS: [(&str, &str, &str); 34] = [
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
    ("totree.", "A", "192.0.2.6"),
    ("secure.", "DS", "negative response, fully validated"),
];

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

/// RFC 6672, 5.3.1: whoever has the signed DNAME record makes the CNAME record again.
#[tokio::test]
async fn what_a_dname_record_makes_is_not_signed_and_the_record_is() {
    let server = server("ed25519").await;
    for (name, own) in [("a.tree.example.test", 0), ("totree.example.test", 1)] {
        let answer = said(
            "dig",
            server.address,
            &[name, "A", "+dnssec", "+noall", "+answer"],
        );
        let count = |kind: &str| {
            let lines = answer.lines();
            let words = lines.map(|line| line.split_whitespace().skip(3).collect::<Vec<_>>());
            let written = kind.split(' ').collect::<Vec<_>>();
            words.filter(|words| words.starts_with(&written)).count()
        };
        assert_eq!(count("DNAME"), 1, "{answer}");
        assert_eq!(count("RRSIG DNAME"), 1, "{answer}");
        // The one that is in the zone is signed, where it is.
        assert_eq!(count("CNAME"), own + 1, "{answer}");
        assert_eq!(count("RRSIG CNAME"), own, "{answer}");
    }
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
        let answer = said(
            "dig",
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
        let said = said(
            "dig",
            server.address,
            &[name, "A", "+dnssec", "+short", &subnet],
        );
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
    let dig = |args: &[&str]| said("dig", server.address, args);
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
        said("dig", server.address, &[&question, more].concat())
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
