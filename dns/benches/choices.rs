//! What it costs to know where a client is, and to choose for it; and to read large maps. `cargo bench -p tidegate-dns`.

#[path = "../src/geo/tests/writer.rs"]
#[expect(dead_code, clippy::unwrap_used, reason = "it is the tests' own")]
mod writer;

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chassis::config::{Located, load};
use ipnet::IpNet;
use serde::Deserialize;
use serde_json::json;
use tidegate_dns::chooser::Chooser;
use tidegate_dns::geo::{Geo, GeoConfig, SiteConfig, Sites};
use tidegate_dns::health::Snapshot;
use tidegate_dns::policy::{Family, Policy, PolicyConfig, Tables, View};

use self::writer::Writer;

/// The part of `dns.toml` that is about places and policies.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    site: Vec<SiteConfig>,
    geo: GeoConfig,
    #[serde(default)]
    policy: BTreeMap<Located<String>, PolicyConfig>,
}

/// A configuration that was compiled.
struct Compiled {
    sites: Arc<Sites>,
    geo: Geo,
    policies: Vec<Arc<Policy>>,
    took: Duration,
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    for networks in [10, 1_000, 100_000, 1_000_000] {
        look_up(folder.path(), "IPv4", &networks_of_ipv4(networks))?;
    }
    for networks in [10, 1_000, 100_000, 1_000_000] {
        look_up(folder.path(), "IPv6", &networks_of_ipv6(networks))?;
    }
    read_a_database(folder.path())?;
    for (endpoints, answers, even) in [
        (1, 1, true),
        (2, 1, true),
        (2, 1, false),
        (8, 1, true),
        (8, 1, false),
        (8, 3, false),
        (64, 1, false),
    ] {
        decide(folder.path(), endpoints, answers, even)?;
    }
    Ok(())
}

/// Clients within these networks, in a map that is read from a file.
fn look_up(folder: &Path, family: &str, networks: &[IpNet]) -> Result<(), Box<dyn Error>> {
    let lines = networks.iter().zip(SITES.iter().cycle());
    let lines: Vec<String> = lines.map(|(net, site)| format!("{net} {site}")).collect();
    fs::write(folder.join("a.map"), lines.join("\n"))?;
    let compiled = compile(folder, "files = [\"a.map\"]\n")?;
    let mut numbers = Numbers(3);
    let clients: Vec<IpAddr> = (0..1_000_000)
        .map(|_| networks[numbers.below(networks.len())].network())
        .collect();
    let plain = nanoseconds(&clients, |client| compiled.geo.site(client));
    let scoped = nanoseconds(&clients, |client| compiled.geo.find(client));
    println!(
        "{family}, {:?} ranges, {} KiB, read in {:?}: {plain:.1} ns, with scope {scoped:.1} ns",
        compiled.geo.ranges(),
        compiled.geo.bytes() >> 10,
        compiled.took,
    );
    Ok(())
}

/// A database of about a million nodes.
fn read_a_database(folder: &Path) -> Result<(), Box<dyn Error>> {
    let mut numbers = Numbers(4);
    let mut writer = Writer::new(6);
    let networks = networks_of_ipv4(350_000);
    for network in &networks {
        let country = ["DE", "US", "SG", "FR", "BR", "IN"][numbers.below(6)];
        writer.insert(*network, &json!({ "country": { "iso_code": country } }));
    }
    fs::write(folder.join("a.mmdb"), writer.finish())?;
    let rule = |site: &str, countries: &str| {
        format!("[[geo.database.rule]]\ncountry = [{countries}]\nsite = \"{site}\"\n")
    };
    let text = "[[geo.database]]\nfile = \"a.mmdb\"\n".to_owned()
        + &rule("fra", "\"DE\", \"FR\"")
        + &rule("nyc", "\"US\", \"BR\"")
        + &rule("sin", "\"SG\"");
    let compiled = compile(folder, &text)?;
    println!(
        "a database of {} networks: read in {:?}, {:?} ranges, {} KiB",
        networks.len(),
        compiled.took,
        compiled.geo.ranges(),
        compiled.geo.bytes() >> 10
    );
    Ok(())
}

/// A policy's decision by itself, and together with the client's place and the number of the answer.
fn decide(folder: &Path, endpoints: u32, answers: u32, even: bool) -> Result<(), Box<dyn Error>> {
    let lines: Vec<String> = (1..=endpoints)
        .map(|host| {
            let weight = if even { 1 } else { host };
            format!("{{ site = \"fra\", address = \"192.0.2.{host}\", weight = {weight} }}")
        })
        .collect();
    let text = format!(
        "[policy.a]\nanswers = {answers}\n[policy.a.private]\nendpoints = [{}]\n",
        lines.join(",")
    );
    let Compiled {
        sites,
        geo,
        policies,
        ..
    } = compile(folder, &text)?;
    let policy = policies[0].clone();
    let begun = Instant::now();
    let tables = Tables::new(&policy, &sites, &View::all_up(&policy));
    let made = begun.elapsed();
    let site = sites.id("nyc").ok_or("the site is there")?;
    let clients: Vec<IpAddr> = (0..100_000u32)
        .map(|at| Ipv4Addr::from_bits((11 << 24) + (at << 8) + 7).into())
        .collect();
    let alone = nanoseconds(&clients, |client| {
        tables.pick(site, Family::V4, client).variant()
    });
    let chooser = Chooser::new(sites.clone(), geo, policies);
    chooser.follow(&Snapshot::of(sites, chooser.policies(), View::all_up));
    let all = nanoseconds(&clients, |client| chooser.choose(0, Family::V4, client));
    let weights = if even { "equal" } else { "different" };
    println!(
        "{endpoints} endpoints, {weights} weights, {answers} answers: {alone:.1} ns, \
         with the client's place {all:.1} ns; tables in {made:?}"
    );
    Ok(())
}

fn compile(folder: &Path, more: &str) -> Result<Compiled, Box<dyn Error>> {
    let path = folder.join("dns.toml");
    let sites: Vec<String> = SITES
        .iter()
        .map(|name| format!("[[site]]\nname = \"{name}\"\n"))
        .collect();
    let head = format!("{}[geo]\ndefault = \"fra\"\n", sites.concat());
    fs::write(&path, head + more)?;
    let mut loaded = load::<Config>(&path)?;
    let begun = Instant::now();
    let judged = Sites::compile(&loaded.config.site).and_then(|sites| {
        let geo = Geo::compile(&loaded.config.geo, &sites, &mut loaded.sources)?;
        let policies = loaded.config.policy.iter();
        let policies = policies.map(|(name, config)| Policy::compile(name, config, &sites));
        let policies = policies
            .map(|policy| policy.map(Arc::new))
            .collect::<Result<_, _>>()?;
        Ok(Compiled {
            sites: Arc::new(sites),
            geo,
            policies,
            took: begun.elapsed(),
        })
    });
    judged.map_err(|mistakes| loaded.report(mistakes).into())
}

/// Blocks of many lengths, as a database of countries has them.
fn networks_of_ipv4(count: usize) -> Vec<IpNet> {
    let mut numbers = Numbers(1);
    distinct(count, || {
        let bits = [14, 16, 18, 20, 21, 22, 23, 24][numbers.below(8)];
        let address = Ipv4Addr::from_bits(numbers.next() as u32);
        (address.into(), bits)
    })
}

/// Allocations of registries, in a few parts of 2000::/3.
fn networks_of_ipv6(count: usize) -> Vec<IpNet> {
    let mut numbers = Numbers(2);
    distinct(count, || {
        let bits = [29, 32, 36, 40, 44, 48][numbers.below(6)];
        let registry = [0x2001u128, 0x2400, 0x2600, 0x2800, 0x2a00, 0x2c00][numbers.below(6)];
        let registry = registry + numbers.below(10) as u128;
        let address = registry << 112 | u128::from(numbers.next()) << 48;
        (Ipv6Addr::from_bits(address).into(), bits)
    })
}

/// As many as were drawn, less those that came twice.
fn distinct(count: usize, mut draw: impl FnMut() -> (IpAddr, u8)) -> Vec<IpNet> {
    let drawn = (0..count).map(|_| draw());
    let networks = drawn.filter_map(|(address, bits)| IpNet::new(address, bits).ok());
    let mut networks: Vec<_> = networks.map(|network| network.trunc()).collect();
    networks.sort_unstable();
    networks.dedup();
    networks
}

/// The median of short rounds, for one look-up: few of them are interrupted.
fn nanoseconds<T>(clients: &[IpAddr], mut find: impl FnMut(IpAddr) -> T) -> f64 {
    const ROUND: usize = 5_000;
    let mut rounds = Vec::new();
    for clients in clients.chunks_exact(ROUND) {
        let begun = Instant::now();
        for client in clients {
            black_box(find(black_box(*client)));
        }
        rounds.push(begun.elapsed().as_secs_f64() * 1e9 / ROUND as f64);
    }
    rounds.sort_by(f64::total_cmp);
    rounds[rounds.len() / 2]
}

/// Numbers without a pattern, the same in each run (Steele et al., "Fast splittable pseudorandom number generators", OOPSLA
/// 2014).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        self.next() as usize % limit
    }
}

const SITES: [&str; 3] = ["fra", "nyc", "sin"];
