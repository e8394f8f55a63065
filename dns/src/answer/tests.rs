//! How much of the memory a query touches, and what is said of answers that are not known. What is answered is in
//! `tests/scenarios`.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use chassis::config::load;

use super::bytes::Answer;
use super::snapshot::Node;
use super::{Limits, NoPolicies, Snapshot, compile};
use crate::Config;
use crate::wire::{QueryName, rcode, rtype};
use crate::zone::{Name, read};

#[test]
fn what_a_usual_query_needs_is_in_few_lines_of_the_cache() {
    assert_eq!((size_of::<Node>(), size_of::<Answer>()), (64, 64));
}

const ZONES: &str = r#"
[[zone]]
name = "example.test"
ns = ["ns.provider.test."]

[[zone.record]]
name = "www"
type = "A"
values = ["192.0.2.1"]

[[zone.record]]
name = "moved"
type = "DNAME"
values = ["example.test."]

[[zone]]
name = "late.test"
ns = ["ns.provider.test."]
"#;

/// Nobody knows the addresses of `www.example.test`, and nothing of `late.test` has come.
fn snapshot() -> Snapshot {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dns.toml");
    std::fs::write(
        &path,
        format!("[admin]\naddress = \"127.0.0.1:0\"\n{ZONES}"),
    )
    .unwrap();
    let mut loaded = load::<Config>(&path).unwrap();
    let mut zones = read(&loaded.config.zone, &mut loaded.sources).zones;
    let www = Name::from_text("www.example.test").unwrap();
    let sets = Arc::make_mut(&mut zones[0]).names.get_mut(&www).unwrap();
    sets.of_mut(rtype::A).unwrap().records.clear();
    Arc::make_mut(&mut zones[1]).names.clear();
    compile(&zones, Arc::new(NoPolicies)).unwrap()
}

#[test]
fn what_is_not_known_is_not_blamed_on_endpoints() {
    let snapshot = snapshot();
    let known = |name: &str| {
        let mut packet = vec![0, 7, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1];
        packet.extend(&*Name::from_text(name).unwrap());
        packet.extend([0, 1, 0, 1]);
        packet.extend([0, 0, 41, 0x10, 0, 0, 0, 0, 0, 0, 0]);
        let client = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let mut out = vec![0; 1232];
        let mut asked = QueryName::default();
        let outcome = snapshot.respond(&packet, client, Limits::udp(1232), &mut asked, &mut out);
        assert_eq!(outcome.code, rcode::SERVFAIL, "{name}");
        // What follows the OPT record without options: code, length, and the reason.
        let reason = out[packet.len()..outcome.len].to_vec();
        assert_eq!(reason[..2], [0, 15], "{name}");
        (reason[5], String::from_utf8(reason[6..].to_vec()).unwrap())
    };
    let alias = (0, "alias not known".to_owned());
    assert_eq!(known("www.example.test"), alias);
    assert_eq!(known("www.moved.example.test"), alias, "by a DNAME record");
    for name in ["late.test", "www.late.test"] {
        assert_eq!(known(name), (14, String::new()), "{name}");
    }
}

/// A name with TXT records of so many octets, if that can be answered.
fn with_text(octets: usize) -> Option<Snapshot> {
    // A pointer to the owner, what stands between it and the data, and the length of the text.
    let around = 2 + 10 + 1;
    let whole = (octets - 50) / (around + 200);
    let rest = octets - whole * (around + 200) - around;
    let text = |number: usize, length| format!("\"{number:x<length$}\"");
    let values = (0..whole).map(|number| text(number, 200));
    let values: Vec<_> = values.chain([text(whole, rest)]).collect();
    let values = values.join(", ");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dns.toml");
    let text = format!(
        "admin = {{ address = \"127.0.0.1:0\" }}\n[[zone]]\nname = \"a\"\nns = [\"ns.b.\"]\n\
         record = [{{ name = \"w\", type = \"TXT\", values = [{values}] }}]\n"
    );
    std::fs::write(&path, text).unwrap();
    let mut loaded = load::<Config>(&path).unwrap();
    let read = read(&loaded.config.zone, &mut loaded.sources);
    compile(&read.zones, Arc::new(NoPolicies)).ok()
}

#[test]
fn what_is_answered_at_all_has_room_for_all_options_over_tcp() {
    let (mut least, mut most) = (64_000_usize, 65_500);
    while most - least > 1 {
        let middle = least.midpoint(most);
        match with_text(middle) {
            Some(_) => least = middle,
            None => most = middle,
        }
    }
    let longest = with_text(least).unwrap();
    let mut packet = vec![0, 7, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    packet.extend(b"\x01w\x01a\0\0\x10\0\x01");
    let options = [
        // A network, a cookie, an identity, and how long the connection is kept.
        &[0, 8, 0, 20, 0, 2, 128, 0][..],
        &[0x20; 16],
        &[0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8],
        &[0, 3, 0, 0],
        &[0, 11, 0, 0],
    ]
    .concat();
    packet.extend([0, 0, 41, 4, 208, 0, 0, 0, 0, 0, options.len() as u8]);
    packet.extend(options);
    let secret = crate::guard::CookieSecret::from_hex("e5e973e5a6b2a43f48e7dc849e37bfcf");
    let cookies = crate::guard::Cookies::shared(vec![secret.unwrap()], false);
    let limits = Limits {
        tcp: true,
        keepalive: Some(100),
        options: super::Options {
            cookies: Some(&cookies),
            now: 1,
            identity: &[b'i'; 64],
        },
        ..Limits::udp(1232)
    };
    // The longest signature is to follow.
    let mut out = vec![0; usize::from(u16::MAX) - 358];
    let client = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let outcome = longest.respond(&packet, client, limits, &mut QueryName::default(), &mut out);
    assert_eq!((outcome.code, outcome.truncated), (rcode::NOERROR, false));
    assert_eq!((outcome.len > 64_500, outcome.opt), (true, 137));
}
