//! Endpoints that fail, come back, and share the work.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

use rustix::process::Signal;
use tidegate_tests::admin::Admin;
use tidegate_tests::answer::Answer;
use tidegate_tests::binary::repository;
use tidegate_tests::edge::Home;
use tidegate_tests::eventually::{SOON, eventually};
use tidegate_tests::gateway::Gateway;
use tidegate_tests::load::Load;
use tidegate_tests::process::send;
use tidegate_tests::upstream::Upstream;

/// A gateway with one cluster of these endpoints.
fn configuration(endpoints: &[(&Upstream, u32)], check: &str) -> String {
    let endpoints: Vec<String> = endpoints
        .iter()
        .map(|(upstream, weight)| {
            let address = upstream.address;
            format!("{{ address = \"{address}\", weight = {weight} }}")
        })
        .collect();
    format!(
        r#"admin = {{ address = "127.0.0.1:0" }}
[[listener]]
name = "http"
address = "127.0.0.1:0"

[cluster.up]
endpoints = [{}]
{check}

[[route]]
name = "all"
cluster = "up"
"#,
        endpoints.join(", ")
    )
}

const CHECK: &str = r#"check = { interval = "50ms", timeout = "500ms" }"#;
/// No endpoint is ever found unhealthy by this check.
const BLIND: &str = "";

fn ok(answer: &Answer) -> Result<(), String> {
    match answer.status {
        200 => Ok(()),
        status => Err(format!("{status}: {}", answer.text())),
    }
}

async fn becomes(admin: &Admin, endpoint: impl std::fmt::Display, healthy: f64) {
    let metric = format!("tidegate_gateway_endpoint_healthy{{endpoint=\"{endpoint}\"}}");
    eventually(&format!("{metric} {healthy}"), SOON, async || {
        (admin.metric(&metric).await == Some(healthy)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_killed_user_service_comes_back_and_the_gateway_notices_both() {
    let home = Home::default();
    let shipped = fs::read_to_string(repository().join("conf/gateway.toml")).unwrap();
    let fast = shipped.replace("interval = \"500ms\"", "interval = \"20ms\"");
    assert_ne!(fast, shipped, "the shipped check is a slow one");
    home.configure("gateway.toml", &fast);
    let edge = home.up().await;
    let (api, admin) = (edge.http(), edge.gateway_admin());
    let users = edge.users().base.replace("http://", "");
    api.register("ada").await.expect(201);
    let token = api.login("ada").await.access;
    api.get("/v1/me", &token).await.expect(200);
    becomes(&admin, &users, 1.0).await;

    let killed = edge.role("users").await;
    send(killed, Signal::KILL);
    becomes(&admin, &users, 0.0).await;
    let meanwhile = api.get("/v1/me", &token).await;
    assert!(
        matches!(meanwhile.status, 502 | 503),
        "{}",
        meanwhile.status
    );
    meanwhile.problem(meanwhile.status);

    becomes(&admin, &users, 1.0).await;
    api.get("/v1/me", &token).await.expect(200);
    api.login("ada").await;
    assert_ne!(edge.role("users").await, killed);
    assert!(
        edge.process.stdout().contains("starts again"),
        "`up` says so"
    );
}

#[tokio::test]
async fn an_endpoint_that_refuses_connections_costs_no_request() {
    let (mut a, b) = (Upstream::start("a").await, Upstream::start("b").await);
    let gateway = Gateway::with(&configuration(&[(&a, 1), (&b, 1)], BLIND)).await;
    let load = Load::start(gateway.listener("http"), 4, "/", ok);
    load.more(100).await;
    a.retire().await;
    load.more(200).await;
    load.stop().await.assert_unbroken();
    let failures = format!(
        "tidegate_gateway_endpoint_connect_failures_total{{endpoint=\"{}\"}}",
        a.address
    );
    assert!(
        gateway.admin.metric(&failures).await.unwrap() > 10.0,
        "nothing but retries helped"
    );
}

#[tokio::test]
async fn an_endpoint_that_dies_costs_what_it_had_at_most() {
    const CONNECTIONS: usize = 4;
    let (mut a, b) = (Upstream::start("a").await, Upstream::start("b").await);
    let gateway = Gateway::with(&configuration(&[(&a, 1), (&b, 1)], CHECK)).await;
    becomes(&gateway.admin, a.address, 1.0).await;
    let load = Load::start(gateway.listener("http"), CONNECTIONS, "/", ok);
    load.more(100).await;
    a.die().await;
    becomes(&gateway.admin, a.address, 0.0).await;
    let (before, _) = (a.count(), load.more(100).await);
    assert_eq!(a.count(), before, "it gets nothing while it is dead");
    a.come_back().await;
    becomes(&gateway.admin, a.address, 1.0).await;
    load.more(100).await;
    assert!(a.count() > before + 20, "it gets its share again");
    let tally = load.stop().await;
    let failed = tally.failures.len();
    assert!(
        failed <= CONNECTIONS,
        "{failed} failed: {:?}",
        tally.failures
    );
}

#[tokio::test]
async fn an_endpoint_that_says_it_is_unwell_gets_nothing_until_it_is_well() {
    let (a, b) = (Upstream::start("a").await, Upstream::start("b").await);
    let gateway = Gateway::with(&configuration(&[(&a, 1), (&b, 1)], CHECK)).await;
    let load = Load::start(gateway.listener("http"), 2, "/", ok);
    load.more(50).await;
    a.set_healthy(false);
    becomes(&gateway.admin, a.address, 0.0).await;
    load.more(10).await; // what was on its way
    let before = a.count();
    load.more(100).await;
    assert_eq!(a.count(), before);
    a.set_healthy(true);
    becomes(&gateway.admin, a.address, 1.0).await;
    load.more(100).await;
    assert!(a.count() > before + 20);
    load.stop().await.assert_unbroken();
}

#[tokio::test]
async fn when_no_endpoint_is_well_clients_are_told_at_once() {
    let mut a = Upstream::start("a").await;
    let gateway = Gateway::with(&configuration(&[(&a, 1)], CHECK)).await;
    gateway.get("/", "").await.expect(200);
    a.die().await;
    becomes(&gateway.admin, a.address, 0.0).await;
    let refused = gateway.get("/", "").await;
    assert_eq!(refused.status, 503);
    assert_eq!(refused.header("content-type"), "application/problem+json");
    assert!(refused.header("retry-after").parse::<u64>().unwrap() > 0);
    a.come_back().await;
    becomes(&gateway.admin, a.address, 1.0).await;
    gateway.get("/", "").await.expect(200);
}

#[tokio::test]
async fn an_endpoint_that_does_not_answer_in_time_is_given_up() {
    let a = Upstream::start("a").await;
    let impatient = configuration(&[(&a, 1)], "read_timeout = \"100ms\"");
    let gateway = Gateway::with(&impatient).await;
    a.set_delay(Duration::from_secs(30));
    assert_eq!(gateway.get("/", "").await.status, 504);
    assert_eq!(a.count(), 1, "what may have been done is not tried again");
    a.set_delay(Duration::ZERO);
    gateway.get("/", "").await.expect(200);
}

#[tokio::test]
async fn requests_are_shared_by_weight_and_weight_0_gets_none() {
    let (a, b, c) = (
        Upstream::start("a").await,
        Upstream::start("b").await,
        Upstream::start("c").await,
    );
    let weights = [(&a, 3), (&b, 1), (&c, 0)];
    let gateway = Gateway::with(&configuration(&weights, BLIND)).await;
    let mut shares: HashMap<String, usize> = HashMap::new();
    for _ in 0..40 {
        let answer = gateway.get("/", "").await.expect(200);
        let name = answer.json()["upstream"].as_str().unwrap().to_owned();
        *shares.entry(name).or_default() += 1;
    }
    let expected = [("a".to_owned(), 30), ("b".to_owned(), 10)];
    assert_eq!(shares, HashMap::from(expected));

    gateway.rewrite(&configuration(&[(&a, 0), (&b, 1), (&c, 1)], BLIND));
    eventually("the new weights count", SOON, async || {
        let answer = gateway.get("/", "").await.expect(200);
        (answer.json()["upstream"] == "c").then_some(())
    })
    .await;
    let drained = a.count();
    for _ in 0..10 {
        gateway.get("/", "").await.expect(200);
    }
    assert_eq!(a.count(), drained, "weight 0 drains");
}

#[tokio::test]
async fn an_endpoint_is_checked_before_it_gets_its_first_request() {
    let (a, b) = (Upstream::start("a").await, Upstream::start("b").await);
    a.set_healthy(false);
    let gateway = Gateway::with(&configuration(&[(&a, 1), (&b, 1)], CHECK)).await;
    for _ in 0..20 {
        gateway.get("/", "").await.expect(200);
    }
    assert_eq!(a.count(), 0);
    assert!(a.checks() > 0 && b.checks() > 0);
}
