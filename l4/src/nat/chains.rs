//! The chains that the kernel enters, whatever endpoints there are.

use std::collections::BTreeMap;

use super::NatConfig;
use super::ruleset::{Chain, Family, counting, key, word};
use crate::forward::{Service, Transport};

/// Chains that do not depend on any endpoint.
pub(super) fn framework(config: &NatConfig, services: &[Service]) -> BTreeMap<String, Chain> {
    let chain = |hook, rules: Vec<String>| Chain { hook, rules };
    let find = |family: Family| {
        let (ip, map) = (family.word(), family.services());
        format!("meta l4proto . {ip} daddr . th dport vmap @{map}")
    };
    let dispatch = vec![find(Family::V4), find(Family::V6)];
    let jump = || vec!["jump dispatch".to_owned()];
    let mut chains = vec![
        ("dispatch", chain(None, dispatch)),
        (
            "prerouting",
            chain(Some("nat hook prerouting priority -100"), jump()),
        ),
        // What comes from this machine itself, SYNPROXY's connections to endpoints included.
        (
            "output",
            chain(Some("nat hook output priority -100"), jump()),
        ),
    ];
    let (first, every) = counted(config, services);
    chains.push((
        "postrouting",
        chain(Some("nat hook postrouting priority 100"), first),
    ));
    chains.push((
        "forward",
        chain(Some("filter hook forward priority 0"), every),
    ));
    if config.synproxy {
        chains.extend(cookies(config, services));
    }
    let named = chains
        .into_iter()
        .map(|(name, chain)| (name.to_owned(), chain));
    named.collect()
}

/// What counts the first packet of a flow, and every one.
fn counted(config: &NatConfig, services: &[Service]) -> (Vec<String>, Vec<String>) {
    let (mut first, mut every) = (Vec::new(), Vec::new());
    for (transport, family) in kinds(services) {
        let (word, ip) = (word(transport), family.word());
        let flow = format!(
            "ct original {ip} daddr . ct original proto-dst . ct reply {ip} saddr . ct reply proto-src"
        );
        let count = |what| {
            let map = counting(transport, family, what);
            format!("counter name {flow} map @{map}")
        };
        // A flow of somebody else's has no counter, and the rule ends there.
        let after = if config.masquerade { " masquerade" } else { "" };
        first.push(format!(
            "meta l4proto {word} ct status dnat {}{after}",
            count("flows")
        ));
        for (direction, what) in [("original", "in"), ("reply", "out")] {
            let ours = format!("meta l4proto {word} ct status dnat ct direction {direction}");
            every.push(format!("{ours} {}", count(what)));
        }
        if transport == Transport::Tcp {
            first.push(unknown(family));
        }
    }
    (first, every)
}

/// What an endpoint sends in a connection that this machine does not know yet, because another has forwarded it so far: the
/// client would reset what comes from the endpoint's own address.
fn unknown(family: Family) -> String {
    let (ip, map) = (family.word(), family.answers());
    let later = "ct state new tcp flags & (fin | syn | rst | ack) != syn";
    format!("meta l4proto tcp {later} snat {ip} to {ip} saddr . tcp sport map @{map}")
}

/// SYNs are answered without a flow; the flow begins when a client brings the cookie back.
fn cookies(config: &NatConfig, services: &[Service]) -> [(&'static str, Chain); 4] {
    let (mut raw, mut answer) = (Vec::new(), Vec::new());
    for (family, headers) in [(Family::V4, 0), (Family::V6, 20)] {
        let ours = services.iter().filter(|service| {
            service.transport == Transport::Tcp && Family::of(service.address) == family
        });
        let keys: Vec<String> = ours.map(|service| key(service.address)).collect();
        if keys.is_empty() {
            continue;
        }
        let to = format!(
            "{} daddr . tcp dport {{ {} }}",
            family.word(),
            keys.join(", ")
        );
        raw.push(format!(
            "{to} tcp flags & (fin | syn | rst | ack) == syn notrack"
        ));
        let (mss, scale) = (config.synproxy_mss - headers, config.synproxy_window_scale);
        let options = format!("mss {mss} wscale {scale} timestamp sack-perm");
        answer.push(format!(
            "{to} ct state invalid,untracked synproxy {options}"
        ));
        answer.push(format!("{to} ct state invalid drop"));
    }
    let jump = || vec!["jump cookies".to_owned()];
    let chain = |hook, rules| Chain { hook, rules };
    [
        ("cookies", chain(None, answer)),
        (
            "untracked",
            chain(Some("filter hook prerouting priority -300"), raw),
        ),
        (
            "cookies-here",
            chain(Some("filter hook input priority 0"), jump()),
        ),
        (
            "cookies-beyond",
            chain(Some("filter hook forward priority 0"), jump()),
        ),
    ]
}

/// The transports and families that there are.
fn kinds(services: &[Service]) -> Vec<(Transport, Family)> {
    let all = [Transport::Tcp, Transport::Udp].into_iter();
    let all = all.flat_map(|transport| [(transport, Family::V4), (transport, Family::V6)]);
    let used = |(transport, family): &(Transport, Family)| {
        let mut services = services.iter();
        services.any(|one| one.transport == *transport && Family::of(one.address) == *family)
    };
    all.filter(used).collect()
}
