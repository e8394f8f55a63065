//! What an idle connection costs: memory of the gateway and of nginx, in one run.
//!
//! `make idle` gives each proxy in turn thousands of connections. Each sends one request, has its
//! answer, and stays. Memory is what the kernel counts for the processes of the
//! proxy (`smaps_rollup`) before and after, without socket buffers, which are the
//! kernel's. At the end each connection sends one request more, which shows that it was held.
//!
//! Both proxies have two workers, the same origin, no access log, and keep-alive as
//! it is by default. nginx only gets room for the connections, which its default has not.
//! The client is a debug build: it is not what is measured.

mod memory;
mod nginx;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit, setrlimit};
use tidegate_tests::gateway::Gateway;
use tidegate_tests::http1::message::{Wire, Wrong};
use tidegate_tests::http1::recorder::Recorder;
use tokio::task::JoinSet;

use crate::memory::Memory;
use crate::nginx::Nginx;

const WANTED: u64 = 10_000;

/// Open files of a proxy and of this process that are no connections to clients.
const OTHERS: u64 = 1_000;

/// Connections that come at the same time.
const AT_ONCE: usize = 64;

/// How long a proxy may take to give back what it no longer needs.
const SETTLE: Duration = Duration::from_secs(3);

/// What was measured of a proxy.
struct Line {
    name: &'static str,
    held: usize,
    before: Memory,
    after: Memory,
    took: Duration,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let limit = raise_open_files();
    let count = WANTED.min(limit.saturating_sub(OTHERS));
    println!("open files: at most {limit} a process; {count} connections");
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let origin = Recorder::start().await;
    let mut lines = Vec::new();
    {
        let nginx = Nginx::start(origin.address).await;
        lines.push(measure("nginx", nginx.address, nginx.process.id(), count).await);
    }
    {
        let gateway = Gateway::with(&configuration(origin.address)).await;
        let address = gateway.listener("http");
        lines.push(measure("tidegate", address, gateway.process.id(), count).await);
    }
    print(&lines);
}

fn configuration(origin: SocketAddr) -> String {
    format!(
        r#"threads = 2
admin = {{ address = "127.0.0.1:0" }}
[[listener]]
name = "http"
address = "127.0.0.1:0"
[cluster.origin]
endpoints = [{{ address = "{origin}" }}]
[[route]]
name = "all"
cluster = "origin"
"#
    )
}

/// As many open files as this process may have; those it starts have as many.
fn raise_open_files() -> u64 {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

async fn measure(name: &'static str, address: SocketAddr, pid: u32, count: usize) -> Line {
    let _ = connect(address, 200).await; // caches and pools fill
    tokio::time::sleep(SETTLE).await;
    let before = Memory::of(pid);
    let started = Instant::now();
    let connections = connect(address, count).await;
    let took = started.elapsed();
    tokio::time::sleep(SETTLE).await;
    let after = Memory::of(pid);
    let held = ask_again(connections).await;
    Line {
        name,
        held,
        before,
        after,
        took,
    }
}

/// Connections that each had one answer.
async fn connect(address: SocketAddr, count: usize) -> Vec<Wire> {
    let mut connecting = JoinSet::new();
    let mut connections = Vec::with_capacity(count);
    for _ in 0..count {
        if connecting.len() >= AT_ONCE {
            connections.extend(connecting.join_next().await.and_then(Result::ok).flatten());
        }
        connecting.spawn(async move {
            let mut wire = Wire::connect(address).await.ok()?;
            wire.drop_hard();
            exchange(&mut wire).await.ok()?;
            Some(wire)
        });
    }
    connections.extend(connecting.join_all().await.into_iter().flatten());
    connections
}

/// How many connections answer once more.
async fn ask_again(connections: Vec<Wire>) -> usize {
    let mut held = 0;
    for mut wire in connections {
        held += usize::from(exchange(&mut wire).await.is_ok());
    }
    held
}

async fn exchange(wire: &mut Wire) -> Result<(), Wrong> {
    let request =
        b"GET /sized HTTP/1.1\r\nHost: idle.test\r\nUser-Agent: idle/1\r\nAccept: */*\r\n\r\n";
    let sent = wire.send(request).await;
    sent.map_err(|error| error.to_string())?;
    let head = wire.head().await?.ok_or("closed")?;
    match head.first.starts_with("HTTP/1.1 200 ") {
        true => wire.exactly("GET /sized 0".len()).await.map(drop),
        false => Err(head.first),
    }
}

fn print(lines: &[Line]) {
    println!(
        "\n{:<9} {:>6} {:>15} {:>15} {:>18} {:>17} {:>8}",
        "proxy", "held", "RSS MiB", "PSS MiB", "PSS growth, KiB", "all PSS, KiB", "connects",
    );
    println!(
        "{:<16} {:>15} {:>15} {:>18} {:>17} {:>8}",
        "", "before - after", "before - after", "a connection", "a connection", "a second"
    );
    for line in lines {
        let Line { before, after, .. } = line;
        let held = line.held.max(1) as f64;
        let change = |before: u64, after: u64| {
            let [before, after] = [before, after].map(|kib| kib as f64 / 1024.0);
            format!("{before:.1} - {after:.1}")
        };
        println!(
            "{:<9} {:>6} {:>15} {:>15} {:>18.2} {:>17.2} {:>8.0}",
            line.name,
            line.held,
            change(before.rss, after.rss),
            change(before.pss, after.pss),
            (after.pss as f64 - before.pss as f64) / held,
            after.pss as f64 / held,
            held / line.took.as_secs_f64(),
        );
    }
}
