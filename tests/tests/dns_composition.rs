//! Site, pool, failover, weight and health of one policy, all at once: a thousand networks ask, and each answer is one that
//! all of them together allow.

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use tidegate_tests::eventually::{SOON, eventually};
use tidegate_tests::name_server::NameServer;
use tidegate_tests::question::{query, read};
use tidegate_tests::upstream::Upstream;

/// Private endpoints at fra, of weights 1 and 3, and at nyc; public ones at fra, of weights 2 and 1.
const FRA: [&str; 2] = ["192.0.2.1", "192.0.2.3"];
const NYC: &str = "192.0.2.2";
const PUBLIC: [&str; 2] = ["203.0.113.2", "203.0.113.1"];
const NETWORKS: u16 = 1000;

fn configuration(endpoints: &[SocketAddr; 5]) -> String {
    let [fra, fra_too, nyc, public, public_too] = endpoints;
    format!(
        r#"
[[zone]]
name = "example.test"
ns = ["ns1.example.net."]

[[zone.record]]
name = "api"
type = "A"
policy = "api"

[[zone.record]]
name = "@"
type = "ALIAS"
values = ["api"]

[[site]]
name = "fra"

[[site]]
name = "nyc"

[geo]
default = "fra"
networks = {{ "10.1.0.0/16" = "nyc" }}

[check.edge]
http = {{ path = "/healthz" }}
interval = "100ms"
timeout = "500ms"
rise = 1
fall = 2
damping = false

[policy.api]
spill = 0.3

[policy.api.private]
check = "edge"
endpoints = [
    {{ site = "fra", address = "{}", weight = 1, probe = "{fra}" }},
    {{ site = "fra", address = "{}", weight = 3, probe = "{fra_too}" }},
    {{ site = "nyc", address = "{NYC}", probe = "{nyc}" }},
]

[policy.api.public]
check = "edge"
endpoints = [
    {{ site = "fra", address = "{}", weight = 2, probe = "{public}" }},
    {{ site = "fra", address = "{}", weight = 1, probe = "{public_too}" }},
]
"#,
        FRA[0], FRA[1], PUBLIC[0], PUBLIC[1]
    )
}

/// What each network of `10.SECOND.0.0/16` and others is answered with, by the name of the zone itself: an alias.
fn answers(server: SocketAddr, first: u8, second: u8) -> Vec<String> {
    let socket = UdpSocket::bind(("127.0.0.1", 0)).expect("a port is free");
    socket
        .set_read_timeout(Some(Duration::from_secs(2)))
        .expect("it is a time");
    socket.connect(server).expect("loopback is there");
    let mut buffer = [0; 4096];
    let ask = |network: u16| {
        let [high, low] = network.to_be_bytes();
        let mut packet = query(network, "example.test", "A");
        // EDNS Client Subnet, of a /24 (RFC 7871, 6).
        let end = packet.len();
        packet[end - 2..].copy_from_slice(&[0, 11]);
        packet.extend([0, 8, 0, 7, 0, 1, 24, 0, first, second + high, low]);
        socket.send(&packet).expect("it is sent");
        let length = socket.recv(&mut buffer).expect("it is answered");
        let answer = read(&buffer[..length]);
        let [record] = &answer.sections[0][..] else {
            panic!("{answer:?}")
        };
        record.rsplit(' ').next().unwrap_or_default().to_owned()
    };
    // A /16 has 256 of them.
    let most = if first == 10 { 256 } else { NETWORKS };
    (0..most).map(ask).collect()
}

fn shares(answers: &[String]) -> BTreeMap<&str, f64> {
    let mut shares = BTreeMap::new();
    for answer in answers {
        *shares.entry(answer.as_str()).or_insert(0.0) += 1.0 / answers.len() as f64;
    }
    shares
}

/// Within five standard deviations of a binomial.
fn assert_shares(answers: &[String], expected: &[(&str, f64)]) {
    let found = shares(answers);
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for (address, share) in expected {
        let deviation = (share * (1.0 - share) / answers.len() as f64).sqrt();
        let found = found.get(address).copied().unwrap_or(0.0);
        assert!(
            (found - share).abs() < 5.0 * deviation,
            "{address}: {found}, not {share}"
        );
    }
}

/// Waits until no network is answered with the address any more.
async fn left(server: SocketAddr, address: &str) -> Vec<String> {
    let what = format!("nobody is sent to {address}");
    eventually(&what, SOON, async || {
        let now = answers(server, 172, 16);
        let gone = !now.iter().any(|answer| answer == address);
        // Not in the middle of the change.
        (gone && now == answers(server, 172, 16)).then_some(now)
    })
    .await
}

fn assert_only_moved(before: &[String], after: &[String], from: &[&str], to: &[&str]) {
    for (before, after) in before.iter().zip(after) {
        let moved = from.contains(&before.as_str());
        let fits = if moved {
            to.contains(&after.as_str())
        } else {
            before == after
        };
        assert!(fits, "{before} -> {after}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn site_pool_failover_weight_and_health_are_combined() {
    let mut upstreams = Vec::new();
    for name in ["fra", "fra too", "nyc", "public", "public too"] {
        upstreams.push(Upstream::start(name).await);
    }
    let addresses: Vec<SocketAddr> = upstreams.iter().map(|upstream| upstream.address).collect();
    let addresses = addresses.try_into().expect("there are five");
    let server = NameServer::start(&configuration(&addresses), |_| {}).await;
    let at = server.address;

    let all = answers(at, 172, 16);
    let [light, heavy] = FRA;
    let private = [(light, 0.7 * 0.25), (heavy, 0.7 * 0.75)];
    let public = [(PUBLIC[0], 0.2), (PUBLIC[1], 0.1)];
    assert_shares(&all, &[private, public].concat());
    assert_eq!(answers(at, 172, 16), all, "a network keeps its answer");
    assert_shares(&answers(at, 10, 1), &[&[(NYC, 0.7)][..], &public].concat());

    // An endpoint fails: its clients stay at the site and in the pool.
    upstreams[1].set_healthy(false);
    let without_heavy = left(at, heavy).await;
    assert_only_moved(&all, &without_heavy, &[heavy], &[light]);

    // The site fails: the next one of the same pool.
    upstreams[0].set_healthy(false);
    let without_fra = left(at, light).await;
    assert_only_moved(&all, &without_fra, &FRA, &[NYC]);

    // The pool fails: the other one, by its weights.
    upstreams[2].set_healthy(false);
    let only_public = left(at, NYC).await;
    assert_only_moved(&all, &only_public, &FRA, &PUBLIC);
    assert_shares(
        &only_public,
        &[(PUBLIC[0], 2.0 / 3.0), (PUBLIC[1], 1.0 / 3.0)],
    );

    // All are well again: as it was.
    for upstream in &upstreams {
        upstream.set_healthy(true);
    }
    eventually("all return", SOON, async || {
        (answers(at, 172, 16) == all).then_some(())
    })
    .await;

    assert_spill_and_drain_move_their_share(&server, &all).await;
}

/// More spill moves the difference, into the public pool alone; a drained endpoint is left by its own clients.
async fn assert_spill_and_drain_move_their_share(server: &NameServer, all: &[String]) {
    let at = server.address;
    let [light, heavy] = FRA;
    let patched = server
        .admin
        .patch("/policies/api", r#"{"spill": 0.5}"#)
        .await;
    assert_eq!(patched.status, 204);
    let spilt = eventually("spill follows", SOON, async || {
        let now = answers(at, 172, 16);
        // Not in the middle of the change.
        (now != all && now == answers(at, 172, 16)).then_some(now)
    })
    .await;
    assert_shares(
        &spilt,
        &[
            (light, 0.125),
            (heavy, 0.375),
            (PUBLIC[0], 1.0 / 3.0),
            (PUBLIC[1], 1.0 / 6.0),
        ],
    );
    for (before, after) in all.iter().zip(&spilt) {
        assert!(
            before == after || PUBLIC.contains(&after.as_str()),
            "{before} -> {after}"
        );
    }
    let drain = format!("/policies/api/endpoints/{}", PUBLIC[0]);
    assert_eq!(
        server.admin.patch(&drain, r#"{"weight": 0}"#).await.status,
        204
    );
    let drained = left(at, PUBLIC[0]).await;
    assert_only_moved(&spilt, &drained, &[PUBLIC[0]], &[PUBLIC[1]]);
}
