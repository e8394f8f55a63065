//! Random maps: the compiled table says what a naive look-up says, and its scope is right and not longer than needed.

use std::net::IpAddr;

use ipnet::IpNet;
use maxminddb::Reader;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde_json::json;

use super::writer::Writer;
use super::{Geo, Sites, compiled};

const NAMES: [&str; 3] = ["fra", "nyc", "sin"];

/// Networks that often lie in each other: few values for the bits at either end.
fn networks() -> impl Strategy<Value = Vec<(IpNet, usize)>> {
    let four = (0u32..4, 0u32..8, 0u8..=32).prop_map(|(high, low, bits)| {
        let address = IpAddr::from((high << 30 | low).to_be_bytes());
        IpNet::new(address, bits).unwrap().trunc()
    });
    let six = (0u128..4, 0u128..8, 0u8..=128).prop_map(|(high, low, bits)| {
        let address = IpAddr::from((1 << 125 | high << 100 | low << 62 | low).to_be_bytes());
        IpNet::new(address, bits).unwrap().trunc()
    });
    let network = prop_oneof![four.boxed(), six.boxed()];
    btree_map(network, 0usize..3, 0..24).prop_map(|map| map.into_iter().collect())
}

fn naive(networks: &[(IpNet, usize)], address: IpAddr) -> Option<usize> {
    let around = networks
        .iter()
        .filter(|(network, _)| network.contains(&address));
    let longest = around.max_by_key(|(network, _)| network.prefix_len())?;
    Some(longest.1)
}

/// What is near the edges of networks, and what is not.
fn addresses(networks: &[(IpNet, usize)], others: &[(u32, u128)]) -> Vec<IpAddr> {
    let mut found = Vec::new();
    for (network, _) in networks {
        match network {
            IpNet::V4(network) => {
                let (first, last) = (network.network().to_bits(), network.broadcast().to_bits());
                let near = [first.wrapping_sub(1), first, last, last.wrapping_add(1)];
                found.extend(near.map(|bits| IpAddr::V4(bits.into())));
            }
            IpNet::V6(network) => {
                let (first, last) = (network.network().to_bits(), network.broadcast().to_bits());
                let near = [first.wrapping_sub(1), first, last, last.wrapping_add(1)];
                found.extend(near.map(|bits| IpAddr::V6(bits.into())));
            }
        }
    }
    for (four, six) in others {
        found.extend([IpAddr::V4((*four).into()), IpAddr::V6((*six).into())]);
    }
    // Addresses of IPv4 in IPv6 are looked up as what they are.
    found.retain(|address| address.to_canonical() == *address);
    found
}

/// Checks sites, and that a scope holds one site and half the prefix more would not.
fn judge(geo: &Geo, sites: &Sites, all: &[IpAddr], expected: impl Fn(IpAddr) -> usize) {
    for address in all {
        let found = geo.find(*address);
        let name = &sites.site(found.site).name;
        assert_eq!(name, NAMES[expected(*address)], "{address}");
        assert_eq!(geo.site(*address), found.site);
        let of = |bits| IpNet::new(*address, bits).unwrap().trunc();
        let scope = of(found.scope);
        // Edges of all networks are among the addresses, so that nothing between them differs from both.
        let differs = |other: &&IpAddr| NAMES[expected(**other)] != name;
        let mut inside = all.iter().filter(|other| scope.contains(*other));
        assert_eq!(inside.find(differs), None, "inside {scope}");
        if found.scope > 0 {
            let wider = of(found.scope - 1);
            let mut inside = all.iter().filter(|other| wider.contains(*other));
            assert!(
                inside.any(|other| differs(&other)),
                "{scope} could be wider"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn networks_are_found_by_the_longest_prefix(
        networks in networks(),
        others in vec(any::<(u32, u128)>(), 20),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let mut text = "[geo]\ndefault = \"sin\"\n[geo.networks]\n".to_owned();
        for (network, site) in &networks {
            text += &format!("\"{network}\" = \"{}\"\n", NAMES[*site]);
        }
        let (geo, sites) = compiled(folder.path(), &text);
        let all = addresses(&networks, &others);
        judge(&geo, &sites, &all, |address| naive(&networks, address).unwrap_or(2));
    }

    #[test]
    fn databases_lie_below_networks_and_in_order(
        networks in networks(),
        first in networks(),
        second in networks(),
        others in vec(any::<(u32, u128)>(), 20),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let mut text = "[geo]\ndefault = \"nyc\"\n[geo.networks]\n".to_owned();
        for (network, site) in &networks {
            text += &format!("\"{network}\" = \"{}\"\n", NAMES[*site]);
        }
        let readers = [("a.mmdb", &first), ("b.mmdb", &second)].map(|(name, networks)| {
            let mut writer = Writer::new(6);
            let mut sorted = networks.clone();
            sorted.sort_by_key(|(network, _)| network.prefix_len());
            for (network, country) in sorted {
                // A network of a database has at least a bit, and IPv4 is in ::/96.
                if network.prefix_len() > 0 && !(network.addr().is_ipv6() && network.prefix_len() < 97
                    && network.contains(&"::".parse::<IpAddr>().unwrap())) {
                    let code = ["DE", "US", "XX"][country];
                    writer.insert(network, &json!({ "country": { "iso_code": code } }));
                }
            }
            std::fs::write(folder.path().join(name), writer.finish()).unwrap();
            text += &format!(
                "[[geo.database]]\nfile = \"{name}\"\n\
                 [[geo.database.rule]]\ncountry = [\"DE\"]\nsite = \"fra\"\n\
                 [[geo.database.rule]]\ncountry = [\"US\"]\nsite = \"sin\"\n"
            );
            Reader::from_source(writer.finish()).unwrap()
        });
        let (geo, sites) = compiled(folder.path(), &text);
        let expected = |address: IpAddr| {
            // A database of IPv6 keeps IPv4 at ::/96, where no client of IPv6 is.
            let borrowed = |six: std::net::Ipv6Addr| six.to_bits() >> 32 == 0;
            if matches!(address, IpAddr::V6(six) if borrowed(six)) {
                return naive(&networks, address).unwrap_or(1);
            }
            let mapped = || readers.iter().find_map(|reader| {
                let record: Option<serde_json::Value> = reader.lookup(address).unwrap().decode().unwrap();
                match record?["country"]["iso_code"].as_str()? {
                    "DE" => Some(0),
                    "US" => Some(2),
                    _ => None,
                }
            });
            naive(&networks, address).or_else(mapped).unwrap_or(1)
        };
        let every: Vec<_> = [networks.clone(), first.clone(), second.clone()].concat();
        judge(&geo, &sites, &addresses(&every, &others), expected);
    }
}
