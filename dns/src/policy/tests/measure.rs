//! How long a decision takes in the packet path. Run with
//! `cargo test --release -p tidegate-dns --lib -- --ignored --nocapture measure`.

use std::hint::black_box;
use std::net::IpAddr;
use std::time::Instant;

use super::super::{Family, Tables};
use super::{clients, fixture};

#[test]
#[ignore = "a measurement"]
fn measure_decisions() {
    let clients: Vec<IpAddr> = clients().collect();
    for (endpoints, answers, even) in [
        (1, 1, true),
        (2, 1, true),
        (2, 1, false),
        (4, 1, false),
        (8, 1, true),
        (8, 1, false),
        (8, 3, false),
        (64, 1, false),
    ] {
        let lines: Vec<String> = (1..=endpoints)
            .map(|host| {
                let weight = if even { 1 } else { host };
                format!("{{ site = \"fra\", address = \"192.0.2.{host}\", weight = {weight} }}")
            })
            .collect();
        let fixture = fixture(&format!(
            "[policy.a]\nanswers = {answers}\n[policy.a.private]\nendpoints = [{}]\n",
            lines.join(",")
        ));
        let tables = Tables::new(&fixture.policy, &fixture.sites, &fixture.all_up());
        let site = fixture.site("nyc");
        let mut best = f64::INFINITY;
        for _ in 0..10 {
            let begun = Instant::now();
            for client in &clients {
                black_box(tables.pick(site, Family::V4, black_box(*client)).variant());
            }
            best = best.min(begun.elapsed().as_nanos() as f64 / clients.len() as f64);
        }
        let begun = Instant::now();
        for _ in 0..1000 {
            black_box(Tables::new(
                &fixture.policy,
                &fixture.sites,
                &fixture.all_up(),
            ));
        }
        let made = begun.elapsed() / 1000;
        let weights = if even { "equal" } else { "different" };
        println!(
            "{endpoints} endpoints, {weights} weights, {answers} answers: {best:.1} ns; tables in {made:?}"
        );
    }
}
