//! Who gets a connection: by weight, always the same where that is wanted, and nobody all at once.
//!
//! `TIDEGATE_FULL=1` deals out ten times as many connections.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tidegate_tests::l4::{Balancer, Recorder, cluster, listener};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

fn times() -> u32 {
    match std::env::var_os("TIDEGATE_FULL") {
        Some(_) => 10,
        None => 1,
    }
}

async fn endpoints(count: usize) -> Vec<Recorder> {
    let mut all = Vec::new();
    for number in 0..count {
        all.push(Recorder::start(&format!("e{number}")).await);
    }
    all
}

/// The listener, and a cluster of these endpoints with these weights.
fn configuration(endpoints: &[Recorder], weights: &[u32], keys: &str) -> String {
    let proxied = "proxy_protocol = \"optional\"\ntrusted = [\"127.0.0.0/8\"]\ncluster = \"up\"";
    let members: Vec<_> = endpoints
        .iter()
        .zip(weights)
        .filter(|(_, weight)| **weight < GONE)
        .map(|(endpoint, weight)| (endpoint.address, *weight))
        .collect();
    listener("in", proxied) + &cluster("up", &members, keys)
}

/// As a weight: not in the cluster.
const GONE: u32 = u32::MAX;

/// Who takes a flow with this number, which stands for a client; the connection is kept.
async fn take(to: SocketAddr, flow: u32) -> (String, TcpStream) {
    let mut stream = TcpStream::connect(to).await.expect("somebody listens");
    let [_, b, c, d] = flow.to_be_bytes();
    let header = format!("PROXY TCP4 10.{b}.{c}.{d} 192.0.2.1 4711 80\r\n");
    stream
        .write_all(header.as_bytes())
        .await
        .expect("it is open");
    let mut name = [0; 3];
    let read = stream.read_exact(&mut name).await;
    read.expect("an endpoint says its name");
    (String::from_utf8_lossy(&name).trim().to_owned(), stream)
}

/// Who takes each of these flows, some at a time.
async fn deal(to: SocketAddr, flows: std::ops::Range<u32>) -> BTreeMap<u32, String> {
    let mut all = JoinSet::new();
    let (from, end) = (flows.start, flows.end);
    for part in 0..8 {
        all.spawn(async move {
            let mut taken = Vec::new();
            for flow in (from + part..end).step_by(8) {
                taken.push((flow, take(to, flow).await.0));
            }
            taken
        });
    }
    all.join_all().await.into_iter().flatten().collect()
}

fn counts<'a>(names: impl IntoIterator<Item = &'a String>) -> Vec<u32> {
    let mut counts = BTreeMap::new();
    for name in names {
        *counts.entry(name.clone()).or_insert(0) += 1;
    }
    counts.into_values().collect()
}

/// Requires shares of 1:2:3 within 3 percent, and `noise` standard deviations of a fair draw.
#[track_caller]
fn assert_shares(what: &str, counts: &[u32], noise: f64) {
    let all = f64::from(counts.iter().sum::<u32>());
    println!("{what}: {counts:?}");
    assert_eq!(counts.len(), 3, "{what}: {counts:?}");
    for (count, part) in counts.iter().zip([1.0, 2.0, 3.0]) {
        let want = all * part / 6.0;
        let off = (f64::from(*count) - want).abs();
        let drawn = (want * (1.0 - part / 6.0)).sqrt();
        assert!(off <= want * 0.03 + noise * drawn, "{what}: {counts:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_follow_the_weights_whoever_deals_them() {
    let endpoints = endpoints(3).await;
    let start = async |scheduler: &str| {
        let keys = format!("scheduler = \"{scheduler}\"");
        Balancer::start(&configuration(&endpoints, &[1, 2, 3], &keys)).await
    };
    let many = 6000 * times();
    let balancer = start("round_robin").await;
    let dealt = deal(balancer.listener("in"), 0..600).await;
    assert_shares("round_robin", &counts(dealt.values()), 0.0);
    for scheduler in ["source_hash", "maglev"] {
        let balancer = start(scheduler).await;
        let dealt = deal(balancer.listener("in"), 0..many).await;
        assert_shares(scheduler, &counts(dealt.values()), 3.0);
    }
    // They look at what is open.
    for scheduler in ["least_connections", "two_choices"] {
        let balancer = start(scheduler).await;
        let (mut names, mut open) = (Vec::new(), Vec::new());
        for flow in 0..1200 {
            let (name, stream) = take(balancer.listener("in"), flow).await;
            names.push(name);
            open.push(stream);
        }
        assert_shares(scheduler, &counts(&names), 0.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_leaves_moves_hardly_anybody_else() {
    let endpoints = endpoints(10).await;
    let mut weights = [1; 10];
    let keys = "scheduler = \"maglev\"";
    let balancer = Balancer::start(&configuration(&endpoints, &weights, keys)).await;
    let flows = 3000 * times();
    let before = deal(balancer.listener("in"), 0..flows).await;
    assert_eq!(counts(before.values()).len(), 10);
    assert_eq!(before, deal(balancer.listener("in"), 0..flows).await);
    weights[4] = GONE;
    balancer
        .reload(&configuration(&endpoints, &weights, keys))
        .await;
    let after = deal(balancer.listener("in"), 0..flows).await;
    let (mut others, mut moved) = (0, 0);
    for (flow, name) in &before {
        assert_ne!(after[flow], "e4");
        if name != "e4" {
            others += 1;
            moved += u32::from(after[flow] != *name);
        }
    }
    println!("{moved} of {others} flows to others have moved");
    assert!(
        f64::from(moved) <= 0.02 * f64::from(others),
        "{moved} of {others}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn two_balancers_choose_alike() {
    let endpoints = endpoints(5).await;
    for scheduler in ["maglev", "source_hash"] {
        let keys = format!("scheduler = \"{scheduler}\"");
        let text = configuration(&endpoints, &[1, 2, 1, 3, 1], &keys);
        let (one, other) = (Balancer::start(&text).await, Balancer::start(&text).await);
        let dealt = deal(one.listener("in"), 0..800).await;
        assert_eq!(dealt, deal(other.listener("in"), 0..800).await);
        assert_eq!(counts(dealt.values()).len(), 5);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_endpoint_starts_slowly() {
    let endpoints = endpoints(2).await;
    let keys = "slow_start = \"6s\"";
    let balancer = Balancer::start(&configuration(&endpoints, &[1, GONE], keys)).await;
    let to = balancer.listener("in");
    // The first has started long ago by then.
    tokio::time::sleep(Duration::from_secs(6)).await;
    balancer
        .reload(&configuration(&endpoints, &[1, 1], keys))
        .await;
    let begun = Instant::now();
    let young = counts(deal(to, 0..110).await.values());
    let took = begun.elapsed();
    if took < Duration::from_secs(1) {
        assert!(young[0] >= 85 && young[1] >= 1, "{young:?}");
    }
    tokio::time::sleep(Duration::from_millis(6500).saturating_sub(begun.elapsed())).await;
    let grown = counts(deal(to, 0..100).await.values());
    assert_eq!(grown, [50, 50]);
}

/// When each of these connections ends, since `begun`.
async fn ends(open: Vec<TcpStream>, begun: Instant, within: Duration) -> Vec<Option<Duration>> {
    let mut all = JoinSet::new();
    for mut stream in open {
        all.spawn(async move {
            let mut rest = [0; 16];
            let read = async { while matches!(stream.read(&mut rest).await, Ok(1..)) {} };
            let ended = tokio::time::timeout(within, read).await;
            ended.ok().map(|()| begun.elapsed())
        });
    }
    all.join_all().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_endpoint_loses_its_connections_one_by_one() {
    const EACH: usize = 60;
    for (what, gone) in [("weight 0", 0), ("removed", GONE)] {
        let endpoints = endpoints(2).await;
        let keys = "drain = \"4s\"";
        let balancer = Balancer::start(&configuration(&endpoints, &[1, 1], keys)).await;
        let (mut drained, mut kept) = (Vec::new(), Vec::new());
        for flow in 0..2 * EACH as u32 {
            match take(balancer.listener("in"), flow).await {
                (name, stream) if name == "e1" => drained.push(stream),
                (_, stream) => kept.push(stream),
            }
        }
        assert_eq!((drained.len(), kept.len()), (EACH, EACH));
        balancer
            .reload(&configuration(&endpoints, &[1, gone], keys))
            .await;
        let begun = Instant::now();
        let dealt = deal(balancer.listener("in"), 0..20).await;
        assert_eq!(counts(dealt.values()), [20], "{what}: it gets none");
        let ends_kept = tokio::spawn(ends(kept, begun, Duration::from_millis(5500)));
        let ends = ends(drained, begun, Duration::from_secs(30)).await;
        let mut ends: Vec<Duration> = ends.into_iter().flatten().collect();
        ends.sort();
        println!("{what}: from {:?} to {:?}", ends[0], ends[EACH - 1]);
        assert_eq!(ends.len(), EACH, "{what}: each is closed");
        assert!(ends[EACH - 1] < Duration::from_secs(6), "{what}: {ends:?}");
        assert!(ends[EACH / 2] > Duration::from_secs(1), "{what}: {ends:?}");
        let most = (0..6)
            .map(|second| ends.iter().filter(|end| end.as_secs() == second).count())
            .max();
        assert!(most <= Some(EACH / 2), "{what}: not all at once: {ends:?}");
        let kept = ends_kept.await.expect("it does not panic");
        assert!(kept.iter().all(Option::is_none), "{what}: {kept:?}");
        balancer.sees("in", "drained", EACH as f64).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_time_for_it_connections_to_a_drained_endpoint_go_on() {
    let endpoints = endpoints(2).await;
    let balancer = Balancer::start(&configuration(&endpoints, &[0, 1], "")).await;
    let (name, mut stream) = take(balancer.listener("in"), 1).await;
    assert_eq!(name, "e1");
    balancer
        .reload(&configuration(&endpoints, &[1, 0], ""))
        .await;
    assert_eq!(take(balancer.listener("in"), 1).await.0, "e0");
    balancer
        .reload(&configuration(&endpoints, &[1, GONE], ""))
        .await;
    stream.write_all(b"on").await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(endpoints[1].taken().await, b"on");
}
