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
