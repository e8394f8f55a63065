//! What signatures cost: to compile a zone with them, and to answer with them. `cargo bench -p tidegate-dns --bench signing`.

use std::error::Error;
use std::hint::black_box;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use chassis::config::load;
use tidegate_dns::answer::{Limits, NoPolicies, Snapshot, compile, compile_signed};
use tidegate_dns::dnssec::{Algorithm, Key, Role, Signatures, Signers, Times, ZoneSigner};
use tidegate_dns::wire::QueryName;
use tidegate_dns::{Config, zone};

const NAMES: usize = 10_000;
const QUERIES: usize = 200_000;
const ONLINE: usize = 20_000;

fn main() -> Result<(), Box<dyn Error>> {
    let zones = zones()?;
    let began = Instant::now();
    let plain = compile(&zones, Arc::new(NoPolicies)).map_err(|wrong| format!("{wrong:?}"))?;
    println!("compile {NAMES} names, not signed: {:.0} ms", ms(began));
    for name in ["n77", "nope"] {
        let each = each(&plain, name, 0);
        println!("  {name:<8} without signatures: {each:.0} ns");
    }
    measure(&zones, Algorithm::EcdsaP256)?;
    measure(&zones, Algorithm::Ed25519)
}

fn zones() -> Result<Vec<Arc<zone::Zone>>, Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let mut text = String::from(
        "$TTL 300\n@ SOA ns host 1 2 3 4 300\n@ NS ns\nns A 192.0.2.1\n*.w A 192.0.2.2\n",
    );
    for number in 0..NAMES {
        text += &format!("n{number} A 192.0.2.{}\n", number % 250);
    }
    std::fs::write(folder.path().join("zone"), text)?;
    let path = folder.path().join("dns.toml");
    let config =
        "[admin]\naddress = \"127.0.0.1:0\"\n[[zone]]\nname = \"example\"\nfile = \"zone\"\n";
    std::fs::write(&path, config)?;
    let mut loaded = load::<Config>(&path)?;
    Ok(zone::read(&loaded.config.zone, &mut loaded.sources).zones)
}

fn measure(zones: &[Arc<zone::Zone>], algorithm: Algorithm) -> Result<(), Box<dyn Error>> {
    println!("{algorithm:?}");
    let key = |role| -> Result<_, Box<dyn Error>> {
        Ok(Arc::new(Key::new(role, algorithm, &algorithm.generate()?)?))
    };
    let (ksk, zsk, made) = (
        key(Role::Ksk)?,
        key(Role::Zsk)?,
        Arc::new(Signatures::default()),
    );
    let times = Times {
        now: 1_800_000_000,
        validity: 1_209_600,
        refresh: 432_000,
    };
    let sign = || {
        let apex = zones[0].apex.clone();
        let signer = ZoneSigner::new(apex, vec![ksk.clone()], zsk.clone(), times, made.clone());
        let signers = Signers::new(vec![Some(Arc::new(signer))], 10_000_000);
        compile_signed(zones, &signers, Arc::new(NoPolicies)).map_err(|wrong| format!("{wrong:?}"))
    };
    for what in ["first", "again"] {
        let began = Instant::now();
        black_box(sign()?);
        println!("  compile {what}: {:.0} ms", ms(began));
    }
    let signed = sign()?;
    println!(
        "  n77      without signatures: {:.0} ns",
        each(&signed, "n77", 0)
    );
    println!(
        "  n77      with signatures: {:.0} ns",
        each(&signed, "n77", 0x80)
    );
    println!(
        "  nope     with a signature that is known: {:.0} ns",
        each(&signed, "nope", 0x80)
    );
    for below in ["", ".w"] {
        let began = Instant::now();
        for number in 0..ONLINE {
            one(&signed, &packet(&format!("x{number}{below}"), 0x80));
        }
        let each = began.elapsed().as_nanos() as f64 / ONLINE as f64;
        println!("  x1{below:<6} with a new signature: {each:.0} ns");
    }
    Ok(())
}

fn ms(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

/// Nanoseconds for a query: the least of five runs.
fn each(snapshot: &Snapshot, name: &str, flags: u8) -> f64 {
    let packet = packet(name, flags);
    let run = || {
        let began = Instant::now();
        for _ in 0..QUERIES {
            one(snapshot, &packet);
        }
        began.elapsed().as_nanos() as f64 / QUERIES as f64
    };
    (0..5).map(|_| run()).fold(f64::INFINITY, f64::min)
}

fn one(snapshot: &Snapshot, packet: &[u8]) {
    thread_local! {
        static ROOM: std::cell::RefCell<(QueryName, [u8; 4096])> = std::cell::RefCell::new((QueryName::default(), [0; 4096]));
    }
    let limits = Limits::udp(1232);
    ROOM.with_borrow_mut(|(name, out)| {
        black_box(snapshot.respond(packet, IpAddr::from([192, 0, 2, 53]), limits, name, out));
    });
}

fn packet(name: &str, flags: u8) -> Vec<u8> {
    let mut packet = vec![0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    for label in name.split('.').chain(["example"]) {
        packet.push(label.len() as u8);
        packet.extend_from_slice(label.as_bytes());
    }
    packet.extend_from_slice(&[0, 0, 1, 0, 1, 0, 0, 41, 4, 208, 0, 0, flags, 0, 0, 0]);
    packet
}
