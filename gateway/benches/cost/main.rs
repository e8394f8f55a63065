//! What the gateway's policies cost: CPU time of a request beside a bare `ProxyHttp`, in one run.
//!
//! `cargo bench -p tidegate-gateway --bench cost` starts, as processes of its own,
//! an origin that answers 200 with 80 bytes, a bare Pingora proxy, and the
//! gateway with a route, request ids, jwt (verified tokens remembered), a rate
//! limit, an access log and metrics; each proxy has one thread. Short rounds
//! alternate between the two, each over 64 keep-alive connections, and the CPU
//! time of a round is what the kernel counted for all threads of the proxy.

mod bare;
mod gateway;
mod load;
mod origin;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::load::Round;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROUNDS: usize = 7;
const ROUND: Duration = Duration::from_secs(3);

/// A process of this benchmark: this binary with a role.
struct Peer {
    child: Child,
    address: String,
}

impl Peer {
    /// Starts a role, which prints its address once it serves.
    fn start(role: &str, origin: &str) -> Self {
        let this = std::env::current_exe().expect("a running program has a file");
        let mut child = Command::new(this)
            .args([role, origin])
            .stdout(Stdio::piped())
            .spawn()
            .expect("this binary can be started again");
        let out = child.stdout.take().expect("it was piped");
        let mut address = String::new();
        BufReader::new(out)
            .read_line(&mut address)
            .expect("the role prints its address");
        let address = address.trim().to_owned();
        assert!(!address.is_empty(), "{role} did not start");
        Self { child, address }
    }

    /// CPU time of all its threads, in nanoseconds.
    fn cpu(&self) -> u64 {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id()));
        tasks
            .expect("the process lives")
            .flatten()
            .filter_map(|task| std::fs::read_to_string(task.path().join("schedstat")).ok())
            .filter_map(|text| text.split(' ').next()?.parse::<u64>().ok())
            .sum()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(gateway::folder(self.child.id()));
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let argument = |at: usize| arguments.get(at).map_or("", String::as_str);
    match argument(1) {
        "origin" => origin::serve(),
        "bare" => bare::serve(argument(2)),
        "gateway" => gateway::serve(argument(2)),
        _ => compare(),
    }
}

fn compare() {
    let origin = Peer::start("origin", "");
    let peers = [
        Peer::start("bare", &origin.address),
        Peer::start("gateway", &origin.address),
    ];
    let token = gateway::token();
    let mut micros: [Vec<f64>; 2] = Default::default();
    let mut rates: [Vec<f64>; 2] = Default::default();
    for round in 0..=ROUNDS {
        for (at, peer) in peers.iter().enumerate() {
            let before = peer.cpu();
            let Round { requests, seconds } = load::run(&peer.address, &token, ROUND);
            if round > 0 {
                micros[at].push((peer.cpu() - before) as f64 / 1e3 / requests as f64);
                rates[at].push(requests as f64 / seconds);
            } // the first round warms up
        }
    }
    println!(
        "\n{:<18} {:>14} {:>22} {:>12}",
        "proxy", "CPU us/request", "min - max", "requests/s"
    );
    for (name, at) in [("bare ProxyHttp", 0), ("tidegate gateway", 1)] {
        let (low, high) = spread(&micros[at]);
        println!(
            "{name:<18} {:>14.2} {:>22} {:>12.0}",
            median(&micros[at]),
            format!("{low:.2} - {high:.2}"),
            median(&rates[at]),
        );
    }
    let ratios: Vec<f64> = micros[1]
        .iter()
        .zip(&micros[0])
        .map(|(ours, bare)| ours / bare)
        .collect();
    let (low, high) = spread(&ratios);
    println!(
        "\nratio, median of {ROUNDS} rounds: {:.3} ({low:.3} - {high:.3})",
        median(&ratios)
    );
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

fn spread(values: &[f64]) -> (f64, f64) {
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    (low, values.iter().copied().fold(0.0, f64::max))
}
