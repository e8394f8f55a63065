//! The path of packets: a batch is answered as its queries would be one by one, and nothing of it allocates.
#![allow(
    unsafe_code,
    reason = "an allocator that counts is unsafe to implement"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fmt::Write;
use std::fs;
use std::net::IpAddr;
use std::sync::Arc;

use chassis::config::load;
use tidegate_dns::answer::{Limits, Pending, Responded, Snapshot, compile};
use tidegate_dns::chooser::Chooser;
use tidegate_dns::geo::{Geo, Sites};
use tidegate_dns::health;
use tidegate_dns::policy::{Policy, View};
use tidegate_dns::wire::QueryName;
use tidegate_dns::{Config, zone};

#[test]
fn a_batch_is_answered_as_its_queries_are_one_by_one() {
    let snapshot = snapshot();
    let packets = packets();
    let (mut cut, mut silent, mut codes) = (0, 0, [0; 16]);
    let mut batch: Vec<Pending> = (0..32).map(|_| Pending::default()).collect();
    // Batches of many lengths, in which a query meets what the one before has left.
    let mut rest = &packets[..];
    for size in (1..=32).cycle() {
        let (now, later) = rest.split_at(size.min(rest.len()));
        if now.is_empty() {
            break;
        }
        rest = later;
        let together = together(&snapshot, &mut batch, now);
        for (packet, (responded, told)) in now.iter().zip(together) {
            let mut out = vec![0; 4096];
            let alone =
                snapshot.respond(packet, CLIENT, LIMITS, &mut QueryName::default(), &mut out);
            assert_eq!(
                (responded, &*told),
                (alone, &out[..alone.len]),
                "{packet:x?}"
            );
            cut += usize::from(alone.truncated);
            silent += usize::from(alone.len == 0);
            codes[usize::from(alone.code)] += 1;
        }
    }
    let [answered, broken, failed, nowhere, ..] = codes;
    assert!(answered > 900 && nowhere > 40, "{codes:?}");
    assert!(
        cut > 10 && silent > 10 && broken > 10 && failed > 10,
        "{cut} {silent} {codes:?}"
    );
}

#[test]
fn no_query_allocates() {
    let snapshot = snapshot();
    let packets = packets();
    let mut batch: Vec<Pending> = (0..32).map(|_| Pending::default()).collect();
    let mut out = [0; 4096];
    let mut name = QueryName::default();
    let mut all = |snapshot: &Snapshot| {
        let mut octets = 0;
        for packets in packets.chunks(32) {
            let pending = &mut batch[..packets.len()];
            for (one, packet) in pending.iter_mut().zip(packets) {
                one.read(packet);
            }
            let looked_up = snapshot.look_up(pending);
            for (at, packet) in packets.iter().enumerate() {
                octets += looked_up.respond(at, packet, CLIENT, LIMITS, &mut out).len;
                octets += snapshot
                    .respond(packet, CLIENT, LIMITS, &mut name, &mut out)
                    .len;
            }
        }
        octets
    };
    // What a thread makes once, such as its place in a counter, it has made after the first.
    assert!(all(&snapshot) > 0);
    let before = allocations();
    let octets = all(&snapshot);
    let after = allocations();
    assert_eq!(
        after - before,
        0,
        "for {} packets, {octets} octets",
        packets.len()
    );
    drop(vec![0; octets]);
    assert!(allocations() > after, "allocations are counted");
}

/// What each packet of a batch gets.
fn together(
    snapshot: &Snapshot,
    batch: &mut [Pending],
    packets: &[Vec<u8>],
) -> Vec<(Responded, Vec<u8>)> {
    let pending = &mut batch[..packets.len()];
    for (one, packet) in pending.iter_mut().zip(packets) {
        one.read(packet);
    }
    let looked_up = snapshot.look_up(pending);
    let respond = |(at, packet): (usize, &Vec<u8>)| {
        let mut out = vec![0; 4096];
        let responded = looked_up.respond(at, packet, CLIENT, LIMITS, &mut out);
        out.truncate(responded.len);
        (responded, out)
    };
    packets.iter().enumerate().map(respond).collect()
}

const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 7));

const LIMITS: Limits = Limits::udp(1232);

const CONFIG: &str = r#"
[admin]
address = "127.0.0.1:0"
[[listener]]
name = "dns"
address = "127.0.0.1:0"
[[zone]]
name = "example"
file = "example.zone"
[[zone.record]]
name = "near"
type = "A"
policy = "near"
[[zone.record]]
name = "nobody"
type = "A"
policy = "nobody"
[[site]]
name = "fra"
[[site]]
name = "nyc"
[geo]
default = "fra"
[geo.networks]
"198.51.100.0/24" = "nyc"
[policy.near.private]
endpoints = [
    { site = "fra", address = "192.0.2.1" },
    { site = "fra", address = "192.0.2.2", weight = 2 },
    { site = "nyc", address = "192.0.2.3", weight = 3 },
    { site = "nyc", address = "192.0.2.4" },
]
[policy.nobody.private]
all_down = "fail"
endpoints = [{ site = "fra", address = "192.0.2.1", weight = 0 }]
"#;

const ZONE: &str = "$TTL 1h
@ SOA ns1 host 1 2 3 4 5
@ NS ns1
ns1 A 192.0.2.1
*.w MX 10 x.w
d NS ns.d
ns.d A 192.0.2.3
e DNAME d.e.f.test.
b CNAME n1
";

/// A zone with many names, and policies that choose.
fn snapshot() -> Snapshot {
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let path = folder.path().join("dns.toml");
    let mut zone = ZONE.to_owned();
    for number in 0..1000 {
        let [_, _, high, low] = u32::to_be_bytes(number);
        writeln!(zone, "n{number} A 10.0.{high}.{low}").expect("text takes text");
    }
    for number in 0..10 {
        let text = "x".repeat(200);
        writeln!(zone, "big TXT \"{number} {text}\"").expect("text takes text");
    }
    fs::write(folder.path().join("example.zone"), zone).expect("it can be written");
    fs::write(&path, CONFIG).expect("it can be written");
    let mut loaded = load::<Config>(&path).unwrap_or_else(|report| panic!("{report}"));
    let config = &loaded.config;
    let sites = Arc::new(Sites::compile(&config.site).expect("sites are sound"));
    let geo = config.geo.as_ref().expect("there is a map");
    let geo = Geo::compile(geo, &sites, &mut loaded.sources).expect("the map is sound");
    let policies = config.policy.iter().map(|(name, policy)| {
        Arc::new(Policy::compile(name, policy, &sites).expect("policies are sound"))
    });
    let chooser = Chooser::new(sites.clone(), geo, policies.collect());
    chooser.follow(&health::Snapshot::of(
        sites,
        chooser.policies(),
        View::all_up,
    ));
    chooser.count_in(&Default::default());
    let read = zone::read(&loaded.config.zone, &mut loaded.sources);
    assert!(read.mistakes.is_empty(), "{:?}", read.mistakes);
    compile(&read.zones, Arc::new(chooser)).expect("zones are sound")
}

/// Queries of every kind, and what is none.
fn packets() -> Vec<Vec<u8>> {
    const PLAIN: &[u8] = &[0, 0, 41, 4, 208, 0, 0, 0x80, 0, 0, 0];
    const SUBNET: &[u8] = &[
        0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 11, 0, 8, 0, 7, 0, 1, 24, 0, 198, 51, 100,
    ];
    let mut packets = Vec::new();
    for number in 0..1500 {
        let names = [
            format!("n{number}.example"),
            format!("N{}.eXample", number / 3),
            format!("{number}.w.example"),
            format!("{number}.d.example"),
            format!("{number}.e.example"),
            "near.example".to_owned(),
            "nobody.example".to_owned(),
            "big.example".to_owned(),
            "b.example".to_owned(),
            format!("{number}.elsewhere"),
        ];
        let name = &names[number % names.len()];
        let kind = [1, 16, 28, 15, 255, 43][number % 6];
        let edns = [&[][..], PLAIN, SUBNET][number % 3];
        let mut packet = query(number as u16, name, kind, edns);
        match number % 11 {
            0 => packet.truncate(packet.len() - number % 17),
            1 => packet[2] |= 0x80,
            _ => {}
        }
        packets.push(packet);
    }
    packets
}

fn query(id: u16, name: &str, kind: u16, edns: &[u8]) -> Vec<u8> {
    let [high, low] = id.to_be_bytes();
    let additional = u8::from(!edns.is_empty());
    let mut packet = vec![high, low, 1, 0, 0, 1, 0, 0, 0, 0, 0, additional];
    for label in name.split('.') {
        packet.push(label.len() as u8);
        packet.extend_from_slice(label.as_bytes());
    }
    packet.push(0);
    packet.extend_from_slice(&kind.to_be_bytes());
    packet.extend_from_slice(&[0, 1]);
    packet.extend_from_slice(edns);
    packet
}

/// Counts what each thread allocates.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations() -> u64 {
    ALLOCATIONS.get()
}

// SAFETY: every call is the system allocator's, with the same arguments.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller keeps the system allocator's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }
}
