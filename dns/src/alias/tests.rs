//! Where aliases lead, and what stands in their place.

use std::net::IpAddr;
use std::sync::Arc;

use chassis::config::load;

use super::place::{Known, circles, outside, place, warnings};
use crate::Config;
use crate::wire::rtype::{A, AAAA, ALIAS, MX};
use crate::zone::{Name, Zone, read};

const ZONES: &str = r#"
[[zone.record]]
name = "@"
type = "ALIAS"
values = ["lb.provider.test."]

[[zone.record]]
name = "@"
type = "MX"
values = ["10 mx.provider.test."]

[[zone.record]]
name = "web"
type = "A"
ttl = "40s"
values = ["192.0.2.1", "192.0.2.2"]

[[zone.record]]
name = "to-web"
type = "ALIAS"
ttl = "50s"
values = ["www"]

[[zone.record]]
name = "www"
type = "CNAME"
ttl = "20s"
values = ["web"]

[[zone.record]]
name = "out"
type = "CNAME"
values = ["cdn.provider.test."]

[[zone.record]]
name = "to-out"
type = "ALIAS"
values = ["out"]

[[zone.record]]
name = "api"
type = "A"
policy = "api"

[[zone.record]]
name = "to-api"
type = "ALIAS"
values = ["api"]

[[zone.record]]
name = "*.wild"
type = "ALIAS"
values = ["x.web-of.other.test."]

[[zone.record]]
name = "moved"
type = "DNAME"
values = ["wild"]

[[zone.record]]
name = "to-moved"
type = "ALIAS"
values = ["a.moved"]

[[zone.record]]
name = "round"
type = "ALIAS"
values = ["about"]

[[zone.record]]
name = "about"
type = "ALIAS"
values = ["round"]

[[zone.record]]
name = "to-nothing"
type = "ALIAS"
values = ["nothing"]

[[zone.record]]
name = "child"
type = "NS"
values = ["ns.provider.test."]

[[zone.record]]
name = "to-child"
type = "ALIAS"
values = ["a.child"]

[[zone]]
name = "other.test"
ns = ["ns.provider.test."]

[[zone.record]]
name = "*.web-of"
type = "AAAA"
values = ["2001:db8::7"]
"#;

fn zones(more: &str) -> Vec<Arc<Zone>> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dns.toml");
    let head = "[admin]\naddress = \"127.0.0.1:0\"\n[[zone]]\nname = \"example.test\"\nns = [\"ns.provider.test.\"]\n";
    std::fs::write(&path, format!("{head}{more}")).unwrap();
    let mut loaded = load::<Config>(&path).unwrap();
    let read = read(&loaded.config.zone, &mut loaded.sources);
    assert!(read.mistakes.is_empty(), "{}", loaded.report(read.mistakes));
    read.zones
}

fn name(text: &str) -> Name {
    Name::from_text(text).unwrap()
}

/// The data, the TTL and the policy of a set; none without one.
fn set(zones: &[Arc<Zone>], owner: &str, rtype: u16) -> Option<(usize, u32, Option<String>)> {
    let owner = name(&format!("{owner}example.test"));
    let set = zones[0].set(&owner, rtype)?;
    let policy = set.policy.as_ref().map(|policy| policy.to_string());
    Some((set.records.len(), set.ttl, policy))
}

#[test]
fn what_leads_to_our_zones_is_followed_there() {
    let placed = place(&zones(ZONES), &Known::new()).into_owned();
    // The least TTL on the way holds.
    assert_eq!(set(&placed, "to-web.", A), Some((2, 20, None)));
    assert_eq!(set(&placed, "to-web.", AAAA), None);
    assert_eq!(
        set(&placed, "to-api.", A),
        Some((0, 60, Some("api".into())))
    );
    // By a DNAME, a wildcard, and an alias of another zone.
    assert_eq!(set(&placed, "to-moved.", AAAA), Some((1, 60, None)));
    assert_eq!(set(&placed, "*.wild.", AAAA), Some((1, 60, None)));
    for owner in ["to-nothing.", "to-web.", "to-moved.", ""] {
        assert_eq!(set(&placed, owner, ALIAS), None, "nobody sees it");
    }
    assert_eq!(set(&placed, "to-nothing.", A), None);
    assert!(set(&placed, "", MX).is_some(), "other types stay");
}

#[test]
fn circles_are_unknown_and_do_not_hang() {
    let placed = place(&zones(ZONES), &Known::new()).into_owned();
    assert_eq!(set(&placed, "round.", A), Some((0, 60, None)));
    assert_eq!(set(&placed, "about.", AAAA), Some((0, 60, None)));
    let told: Vec<String> = warnings(&zones(ZONES))
        .into_iter()
        .map(|warning| warning.message)
        .collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("`nothing.example.test.`") && told[0].ends_with("is not there"));
    let circles = circles(&zones(ZONES));
    assert_eq!(circles.len(), 2, "{circles:?}");
    assert!(
        circles
            .iter()
            .all(|one| one.message.ends_with("in a circle, or too far"))
    );
}

#[test]
fn what_leads_to_others_is_asked_for_and_unknown_until_then() {
    let zones = zones(ZONES);
    let wanted = [
        "lb.provider.test",
        "cdn.provider.test",
        "a.child.example.test",
    ];
    assert_eq!(outside(&zones), wanted.map(name).into());
    let addresses = |texts: &[&str]| -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    };
    let known = Known::from([
        (
            (name("lb.provider.test"), A),
            addresses(&["192.0.2.7", "192.0.2.8"]),
        ),
        ((name("lb.provider.test"), AAAA), addresses(&[])),
    ]);
    let placed = place(&zones, &known).into_owned();
    assert_eq!(set(&placed, "", A), Some((2, 60, None)));
    assert_eq!(set(&placed, "", AAAA), None, "it has none: that is known");
    assert_eq!(set(&placed, "to-out.", A), Some((0, 60, None)), "unknown");
    assert_eq!(
        set(&placed, "to-child.", A),
        Some((0, 60, None)),
        "a delegation"
    );
}

#[test]
fn what_leads_into_a_zone_that_has_not_come_is_not_known() {
    let more = "[[zone.record]]\nname = \"@\"\ntype = \"ALIAS\"\nvalues = [\"a.copy.test.\"]\n\
        [[zone]]\nname = \"copy.test\"\nns = [\"ns.provider.test.\"]\n\
        [[zone.record]]\nname = \"a\"\ntype = \"CNAME\"\nvalues = [\"b.provider.test.\"]\n";
    let come = zones(more);
    let mut awaited = come.clone();
    Arc::make_mut(&mut awaited[1]).names.clear();
    let placed = place(&awaited, &Known::new());
    assert_eq!(set(&placed, "", A), Some((0, 60, None)), "SERVFAIL");
    assert!(warnings(&awaited).is_empty());
    assert!(outside(&awaited).is_empty());
    assert_eq!(outside(&come), [name("b.provider.test.")].into());
}
