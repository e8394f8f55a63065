//! What is wrong with a configuration of transfers, and who may do what.

use std::fs;

use super::*;
use crate::compile::{Compiled, compile};
use crate::learned::Learned;

const HEAD: &str = "admin = { address = \"127.0.0.1:0\" }\n";
/// At the end, where it moves no line.
const LISTENER: &str = "[[listener]]\nname = \"dns\"\naddress = \"127.0.0.1:5300\"\n";
const KEY: &str = "[tsig.ns2]\nsecret = \"MDEyMzQ1Njc4OWFiY2RlZg==\"\n";

fn compiled(text: &str) -> Result<Compiled, Vec<String>> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("dns.toml");
    fs::write(&file, format!("{HEAD}{text}\n{LISTENER}")).unwrap();
    let told = |line: String| line.replace(&format!("{}/", folder.path().display()), "");
    compile(&file, &Learned::default()).map_err(|report| report.lines().map(told).collect())
}

fn mistakes(text: &str) -> Vec<String> {
    match compiled(text) {
        Ok(_) => panic!("it is accepted: {text}"),
        Err(mistakes) => mistakes,
    }
}

fn zone(more: &str) -> String {
    format!("[[zone]]\nname = \"example.test\"\nns = [\"ns.example.net.\"]\n{more}\n")
}

#[test]
fn keys_that_cannot_be_used_are_named() {
    assert_eq!(
        mistakes("[tsig.ns2]\nsecret = \"not base64!\"\n"),
        ["dns.toml:3:10: the key is not base64"]
    );
    assert_eq!(
        mistakes("[tsig.ns2]\nsecret = \"c2hvcnQ=\"\n"),
        ["dns.toml:3:10: a key has 16 octets at least (`openssl rand -base64 32` makes one)"]
    );
    assert_eq!(
        mistakes(&format!("{KEY}{}", zone("transfer = [{ key = \"ns3\" }]"))),
        ["dns.toml:7:21: there is no key `ns3` (did you mean `ns2`?)"]
    );
    let algorithm =
        mistakes("[tsig.ns2]\nalgorithm = \"hmac-md5\"\nsecret = \"MDEyMzQ1Njc4OWFiY2RlZg==\"\n");
    assert!(
        algorithm[0].contains("unknown value `hmac-md5`"),
        "{algorithm:?}"
    );
}

#[test]
fn rules_that_say_nothing_or_nonsense_are_named() {
    assert_eq!(
        mistakes(&zone("transfer = [{}]")),
        [
            "dns.toml:3:8: a rule of `example.test` says nothing of who may copy it \
          (add `from = [\"192.0.2.0/24\"]` or a `key`; `0.0.0.0/0` and `::/0` are everybody)"
        ]
    );
    assert_eq!(
        mistakes(&zone(
            "transfer = [{ from = [\"192.0.2.1/24\", \"somewhere\"] }]"
        )),
        [
            "dns.toml:5:23: `192.0.2.1/24` has bits beyond its length (did you mean `192.0.2.0/24`?)",
            "dns.toml:5:39: `somewhere` is not a network",
        ]
    );
}

#[test]
fn a_zone_from_a_primary_has_nothing_of_its_own_and_a_place_for_its_copy() {
    let primary = "primary = [{ address = \"192.0.2.53:53\" }]";
    assert_eq!(
        mistakes(&format!("[[zone]]\nname = \"example.test\"\n{primary}\n")),
        [
            "dns.toml:3:8: the zone `example.test` has a primary, and no place for its copy \
          (add `transfers = { state = \"/var/lib/tidegate/zones\" }`)"
        ]
    );
    let with_state = "transfers = { state = \"copies\" }\n";
    for own in [
        "ns = [\"ns1\"]",
        "soa = { refresh = \"1h\" }",
        "soa = { serial = 1 }",
        "ttl = \"1m\"",
    ] {
        let text = format!("{with_state}[[zone]]\nname = \"example.test\"\n{own}\n{primary}\n");
        let mistakes = mistakes(&text);
        assert!(
            mistakes[0].contains("come from its primary"),
            "{mistakes:?}"
        );
    }
}

#[test]
fn another_server_is_spoken_to_from_an_address_of_its_family() {
    assert_eq!(
        mistakes(&zone(
            "notify = [{ address = \"192.0.2.1:53\", from = \"::1\" }]"
        )),
        [
            "dns.toml:5:46: `192.0.2.1:53` cannot be spoken to from `::1` (both are IPv4, or both IPv6)"
        ]
    );
}

#[test]
fn secrets_are_not_shown() {
    let text = format!("{KEY}{}", zone("transfer = [{ key = \"ns2\" }]"));
    let compiled = compiled(&text).unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
    let shown = format!(
        "{:?} {:?}",
        compiled.state.transfers, compiled.loaded.config
    );
    assert!(
        !shown.contains("MDEyMzQ1") && !shown.contains("0123456789"),
        "{shown}"
    );
}

#[test]
fn all_that_a_rule_says_must_hold_and_one_rule_is_enough() {
    let text = format!(
        "{KEY}{}",
        zone(
            "transfer = [{ from = [\"192.0.2.0/24\"], key = \"ns2\" }, { from = [\"2001:db8::1\"] }]"
        )
    );
    let compiled = compiled(&text).unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
    let (apex, key) = (Name::from_text("example.test"), Name::from_text("ns2"));
    let rules = &compiled.state.transfers.zones[&apex.unwrap()];
    let may = |client: &str, key| rules.may_copy(client.parse().unwrap(), key);
    assert!(may("192.0.2.7", key.as_ref()) && may("2001:db8::1", None));
    assert!(!may("192.0.2.7", None) && !may("198.51.100.1", key.as_ref()));
    assert!(
        !may("2001:db8::2", None) && !rules.may_notify("192.0.2.7".parse().unwrap(), key.as_ref())
    );
}
