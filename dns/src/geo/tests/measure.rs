//! How long a look-up takes, and what a large map costs. Run with
//! `cargo test --release -p tidegate-dns --lib -- --ignored --nocapture measure`.

use std::hint::black_box;
use std::net::IpAddr;
use std::time::Instant;

use serde_json::json;

use super::super::layer::{Layer, Network};
use super::super::sites::SiteId;
use super::super::table::Table;
use super::writer::Writer;
use super::{SITES, compile_in};

/// Numbers without a pattern, the same in each run (Steele et al., "Fast splittable pseudorandom number
/// generators", OOPSLA 2014).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

fn nanoseconds<T: Copy>(addresses: &[T], mut find: impl FnMut(T) -> SiteId) -> f64 {
    const ROUNDS: usize = 5;
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        for address in addresses {
            black_box(find(*address));
        }
        best = best.min(begun.elapsed().as_nanos() as f64 / addresses.len() as f64);
    }
    best
}

/// Ranges like those of a database of countries: blocks of many lengths, dense and often of another site.
fn layer_of_ipv4(networks: usize) -> Layer<u32> {
    let mut numbers = Numbers(1);
    let mut all: Vec<_> = (0..networks)
        .map(|_| {
            let bits = 14 + u8::try_from(numbers.next() % 11).unwrap();
            let first = (numbers.next() as u32) & (u32::MAX << (32 - bits));
            (Network { first, bits }, SiteId((numbers.next() % 6) as u16))
        })
        .collect();
    all.sort_unstable();
    all.dedup_by_key(|(network, _)| *network);
    Layer::of_networks(all)
}

/// The same for IPv6: allocations of registries, in a few parts of 2000::/3.
fn layer_of_ipv6(networks: usize) -> (Layer<u128>, Vec<u128>) {
    let mut numbers = Numbers(2);
    let registries = [0x2001u128, 0x2400, 0x2600, 0x2800, 0x2a00, 0x2c00];
    let mut all: Vec<_> = (0..networks)
        .map(|_| {
            let bits = 29 + u8::try_from(numbers.next() % 20).unwrap();
            let registry =
                registries[(numbers.next() % 6) as usize] + u128::from(numbers.next() % 10);
            let first =
                (registry << 112 | u128::from(numbers.next()) << 48) & (u128::MAX << (128 - bits));
            (Network { first, bits }, SiteId((numbers.next() % 6) as u16))
        })
        .collect();
    all.sort_unstable();
    all.dedup_by_key(|(network, _)| *network);
    let clients = all.iter().map(|(network, _)| network.first | 1).collect();
    (Layer::of_networks(all), clients)
}

#[test]
#[ignore = "a measurement"]
fn measure_look_ups() {
    let mut numbers = Numbers(3);
    let clients: Vec<u32> = (0..1_000_000).map(|_| numbers.next() as u32).collect();
    for networks in [10, 1000, 100_000, 1_000_000] {
        let layer = layer_of_ipv4(networks);
        let table = Table::new(&layer, SiteId(0));
        let indexed = nanoseconds(&clients, |client| table.site(client));
        let scoped = nanoseconds(&clients, |client| table.find(client).0);
        let firsts: Vec<u32> = layer.ranges.iter().map(|(first, _)| *first).collect();
        let plain = nanoseconds(&clients, |client| {
            SiteId(firsts.partition_point(|first| *first <= client) as u16)
        });
        let direct = direct(&layer);
        let direct = nanoseconds(&clients, |client| SiteId(direct[(client >> 8) as usize]));
        println!(
            "IPv4, {} ranges, {} KiB: {indexed:.1} ns, with scope {scoped:.1} ns; \
             plain binary search {plain:.1} ns; a table of 2^24 (32 MiB) {direct:.1} ns",
            table.len(),
            table.bytes() >> 10,
        );
    }
    for networks in [10, 1000, 100_000, 1_000_000] {
        let (layer, mut clients) = layer_of_ipv6(networks);
        clients.sort_by_key(|client| client.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let clients: Vec<u128> = clients.iter().copied().cycle().take(1_000_000).collect();
        let table = Table::new(&layer, SiteId(0));
        let scoped = nanoseconds(&clients, |client| table.find(client).0);
        let firsts: Vec<u128> = layer.ranges.iter().map(|(first, _)| *first).collect();
        let plain = nanoseconds(&clients, |client| {
            SiteId(firsts.partition_point(|first| *first <= client) as u16)
        });
        println!(
            "IPv6, {} ranges, {} KiB: with scope {scoped:.1} ns; plain binary search {plain:.1} ns",
            table.len(),
            table.bytes() >> 10,
        );
    }
}

/// The first level of DIR-24-8 (Gupta, Lin, McKeown, "Routing lookups in hardware at memory access speeds",
/// INFOCOM 1998), to compare with.
fn direct(layer: &Layer<u32>) -> Vec<u16> {
    let mut direct = vec![0; 1 << 24];
    for (at, (first, site)) in layer.ranges.iter().enumerate() {
        let end = layer
            .ranges
            .get(at + 1)
            .map_or(u32::MAX, |(next, _)| next - 1);
        direct[(first >> 8) as usize..=(end >> 8) as usize].fill(site.map_or(0, |site| site.0));
    }
    direct
}

#[test]
#[ignore = "a measurement"]
fn measure_a_database_of_a_million_nodes() {
    let folder = tempfile::tempdir().unwrap();
    let mut numbers = Numbers(4);
    let mut writer = Writer::new(6);
    for _ in 0..350_000 {
        let country = ["DE", "US", "SG", "FR", "BR", "IN"][(numbers.next() % 6) as usize];
        let bits = 14 + u8::try_from(numbers.next() % 11).unwrap();
        let address = IpAddr::from((numbers.next() as u32).to_be_bytes());
        let network = ipnet::IpNet::new(address, bits).unwrap().trunc();
        writer.insert(network, &json!({ "country": { "iso_code": country } }));
    }
    std::fs::write(folder.path().join("a.mmdb"), writer.finish()).unwrap();
    let mut text =
        format!("{SITES}[geo]\ndefault = \"fra\"\n[[geo.database]]\nfile = \"a.mmdb\"\n");
    for (country, site) in [
        ("DE", "fra"),
        ("US", "nyc"),
        ("SG", "sin"),
        ("FR", "fra"),
        ("BR", "nyc"),
    ] {
        text += &format!("[[geo.database.rule]]\ncountry = [\"{country}\"]\nsite = \"{site}\"\n");
    }
    let begun = Instant::now();
    let (geo, _, _) = compile_in(folder.path(), &text).unwrap();
    println!(
        "{} nodes: compiled in {:?}, {:?} ranges, {} KiB",
        writer.nodes(),
        begun.elapsed(),
        geo.ranges(),
        geo.bytes() >> 10
    );
}

#[test]
#[ignore = "a measurement"]
fn measure_a_file_of_a_million_networks() {
    let folder = tempfile::tempdir().unwrap();
    let mut numbers = Numbers(5);
    let mut lines = std::collections::BTreeMap::new();
    while lines.len() < 1_000_000 {
        let address = IpAddr::from((numbers.next() as u32).to_be_bytes());
        let bits = 16 + u8::try_from(numbers.next() % 13).unwrap();
        let network = ipnet::IpNet::new(address, bits).unwrap().trunc();
        lines.insert(
            network,
            ["fra", "nyc", "sin"][(numbers.next() % 3) as usize],
        );
    }
    let lines: Vec<String> = lines
        .iter()
        .map(|(network, site)| format!("{network} {site}"))
        .collect();
    std::fs::write(folder.path().join("a.map"), lines.join("\n")).unwrap();
    let text = format!("{SITES}[geo]\ndefault = \"fra\"\nfiles = [\"a.map\"]\n");
    let begun = Instant::now();
    let (geo, _, _) = compile_in(folder.path(), &text).unwrap();
    println!(
        "a file of a million networks: compiled in {:?}, {:?} ranges, {} KiB",
        begun.elapsed(),
        geo.ranges(),
        geo.bytes() >> 10
    );
}
