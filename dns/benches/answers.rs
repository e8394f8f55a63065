//! What it costs to answer a query, without the kernel: alone, and in a batch. `cargo bench -p tidegate-dns --bench answers`.

use std::error::Error;
use std::fmt::Write;
use std::fs;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chassis::config::load;
use tidegate_dns::answer::{Limits, NoPolicies, Pending, Snapshot, compile};
use tidegate_dns::wire::QueryName;
use tidegate_dns::{Config, zone};

fn main() -> Result<(), Box<dyn Error>> {
    for names in [1_000, 10_000, 100_000, 1_000_000] {
        let snapshot = snapshot(names)?;
        for (what, missing) in [("all there", 0), ("9 % not there", 11)] {
            let alone = alone(&snapshot, names, missing);
            let together = together(&snapshot, names, missing);
            println!(
                "{names} names, {what}: {alone:.0} ns alone, {together:.0} ns in batches of {BATCH}"
            );
        }
    }
    Ok(())
}

/// As many as a system call brings.
const BATCH: usize = 32;

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

const LIMITS: Limits = Limits::udp(1232);

fn alone(snapshot: &Snapshot, names: usize, missing: usize) -> f64 {
    let mut name = QueryName::default();
    let mut out = [0; 4096];
    nanoseconds(names, missing, |queries| {
        for query in queries {
            black_box(snapshot.respond(query, CLIENT, LIMITS, &mut name, &mut out));
        }
    })
}

fn together(snapshot: &Snapshot, names: usize, missing: usize) -> f64 {
    let mut pending: Vec<Pending> = (0..BATCH).map(|_| Pending::default()).collect();
    let mut out = [0; 4096];
    nanoseconds(names, missing, |queries| {
        for (one, query) in pending.iter_mut().zip(queries) {
            one.read(query);
        }
        let looked_up = snapshot.look_up(&mut pending);
        for (at, query) in queries.iter().enumerate() {
            black_box(looked_up.respond(at, query, CLIENT, LIMITS, &mut out));
        }
    })
}

/// The median of short rounds, for a query: few of them are interrupted. Each asks for other names, far from each other, by
/// queries that have just come, as those of the kernel have.
fn nanoseconds(names: usize, missing: usize, mut answer: impl FnMut(&[Vec<u8>])) -> f64 {
    const ROUNDS: usize = 401;
    const BATCHES: usize = 100;
    // Has no divisor in common with the numbers of names.
    const STEP: usize = 7_919;
    let mut queries = vec![Vec::new(); BATCH];
    let mut place = 0;
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let mut took = Duration::ZERO;
        for _ in 0..BATCHES {
            for query in &mut queries {
                let is_missing = missing > 0 && place % missing == 0;
                write(query, place * STEP % names, is_missing);
                place += 1;
            }
            let begun = Instant::now();
            answer(&queries);
            took += begun.elapsed();
        }
        rounds.push(took.as_secs_f64() * 1e9 / (BATCHES * BATCH) as f64);
    }
    rounds.sort_by(f64::total_cmp);
    rounds[ROUNDS / 2]
}

/// Writes a query for a name's address.
fn write(query: &mut Vec<u8>, number: usize, is_missing: bool) {
    let prefix = if is_missing { "no" } else { "" };
    let label = format!("{prefix}n{number:06}");
    query.clear();
    query.extend_from_slice(&[0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, label.len() as u8]);
    query.extend_from_slice(label.as_bytes());
    query.extend_from_slice(b"\x05bench\x04test\0\0\x01\0\x01");
}

/// A zone with so many names, each with an address.
fn snapshot(names: usize) -> Result<Snapshot, Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let mut text = "$TTL 300\n@ SOA ns1 host 1 2 3 4 5\n@ NS ns1\nns1 A 192.0.2.1\n".to_owned();
    for number in 0..names {
        let address = Ipv4Addr::from_bits((10 << 24) + number as u32);
        writeln!(text, "n{number:06} A {address}")?;
    }
    fs::write(folder.path().join("zone"), text)?;
    let path = folder.path().join("dns.toml");
    let config =
        "[admin]\naddress = \"127.0.0.1:0\"\n[[zone]]\nname = \"bench.test\"\nfile = \"zone\"\n";
    fs::write(&path, config)?;
    let mut loaded = load::<Config>(&path)?;
    let read = zone::read(&loaded.config.zone, &mut loaded.sources);
    let compiled = match read.mistakes.is_empty() {
        true => compile(&read.zones, Arc::new(NoPolicies)),
        false => Err(read.mistakes),
    };
    compiled.map_err(|mistakes| loaded.report(mistakes).into())
}
