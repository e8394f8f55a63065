//! A map of networks to sites, in the words of each server.

use std::fmt::Write;

use super::zone::{ZONE, name, of};

/// How many networks the map has. Knot writes them down for each name, so that neither can be many.
pub(crate) const NETWORKS: usize = 1_000;

/// Sites, each with its address.
const SITES: [(&str, [u8; 4]); 3] = [
    ("fra", [192, 0, 2, 1]),
    ("nyc", [192, 0, 2, 2]),
    ("sin", [192, 0, 2, 3]),
];

/// The first octets of a network; it has 24 bits.
pub(crate) fn network(number: usize) -> [u8; 3] {
    // Apart from each other, as clients are.
    let [first, second] = [20 + number % 100, number * 37 % 256].map(|octet| octet as u8);
    [first, second, (number / 100) as u8]
}

/// The address of the site that a network belongs to. Of two in a row each belongs to another.
pub(crate) fn site_of(network: usize) -> [u8; 4] {
    SITES[network % SITES.len()].1
}

/// A line for each network, of its text, its site and the site's address.
fn lines(line: impl Fn(&str, &str, &str) -> String) -> String {
    let line = |number: usize| {
        let [a, b, c] = network(number);
        let (site, address) = SITES[number % SITES.len()];
        line(&format!("{a}.{b}.{c}.0/24"), site, &text(address))
    };
    (0..NETWORKS).map(line).collect()
}

fn text([a, b, c, d]: [u8; 4]) -> String {
    format!("{a}.{b}.{c}.{d}")
}

/// The map of Tidegate, a file of networks.
pub(super) fn tidegate_map() -> String {
    lines(|network, site, _| format!("{network} {site}\n"))
}

/// The rest of its configuration: sites, a policy, and a record for each name.
pub(super) fn tidegate_policy(names: usize) -> String {
    let mut text = String::new();
    for number in 0..names {
        let name = name(number);
        let _ = write!(
            text,
            "[[zone.record]]\nname = \"{name}\"\ntype = \"A\"\nttl = \"300s\"\npolicy = \"near\"\n"
        ); // text takes everything
    }
    let mut endpoints = String::new();
    for (site, address) in SITES {
        let address = self::text(address);
        let _ = writeln!(text, "[[site]]\nname = \"{site}\""); // text takes everything
        let _ = writeln!(
            endpoints,
            "{{ site = \"{site}\", address = \"{address}\" }},"
        );
    }
    text + "[geo]\ndefault = \"fra\"\nfiles = [\"networks.map\"]\n[policy.near.private]\nendpoints = [\n"
        + &endpoints
        + "]\n"
}

/// Knot's: every name with every network, and its address there.
pub(super) fn knot_map(names: usize) -> String {
    let networks = lines(|network, _, address| format!("  - net: {network}\n    A: {address}\n"));
    let name = |number| format!("{}.{ZONE}:\n{networks}", name(number));
    (0..names).map(name).collect()
}

/// gdnsd's: sites, networks, and a resource, which each name's record names.
pub(super) fn gdnsd_plugin() -> String {
    let networks = lines(|network, site, _| format!("{network} => [{site}],\n"));
    let sites: Vec<&str> = SITES.iter().map(|(site, _)| *site).collect();
    let address = |(site, address): &(&str, [u8; 4])| format!("{site} => {},", text(*address));
    let addresses: String = SITES.iter().map(address).collect();
    format!(
        "plugins => {{ geoip => {{\nmaps => {{ m => {{ datacenters => [{}], nets => {{\n{networks}}} }} }},\n\
         resources => {{ near => {{ map => m, dcmap => {{ {addresses} }} }} }} }} }}\n",
        sites.join(", ")
    )
}

/// gdnsd's zone file.
pub(super) fn gdnsd_zone(names: usize) -> String {
    of(names, |_| "DYNA geoip!near".to_owned())
}
