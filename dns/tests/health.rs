//! Checks against real servers: what fails is left within the fall threshold, what is well again returns, and
//! what is removed is not asked any more.

mod servers;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use std::sync::Arc;
use std::time::{Duration, Instant};

use chassis::config::{Located, load};
use chassis::health::check::{CheckConfig, Checks};
use serde::Deserialize;
use tidegate_dns::geo::{SiteConfig, Sites};
use tidegate_dns::health::{Health, Plan};
use tidegate_dns::policy::{Family, Outcome, Policy, PolicyConfig, Status, Tables};

use self::servers::{Kind, Server};

/// The part of `dns.toml` that health needs.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    site: Vec<SiteConfig>,
    check: BTreeMap<Located<String>, CheckConfig>,
    policy: BTreeMap<Located<String>, PolicyConfig>,
}

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1));

fn plan(text: &str) -> Plan {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("dns.toml");
    std::fs::write(&path, text).expect("it is written");
    let mut loaded = load::<Config>(&path).expect("it is read");
    let sites = Sites::compile(&loaded.config.site).expect("sites");
    let checks = Checks::compile(&loaded.config.check, &mut loaded.sources).expect("checks");
    let policies = loaded.config.policy.iter();
    let policies =
        policies.map(|(name, one)| Arc::new(Policy::compile(name, one, &sites).expect("a policy")));
    let policies: Vec<_> = policies.collect();
    Plan::compile(Arc::new(sites), &policies, &checks).expect("a plan")
}

const INTERVAL: Duration = Duration::from_millis(50);
/// Long enough for a busy machine.
const TIMEOUT: Duration = Duration::from_millis(150);
const FALL: u32 = 3;
const RISE: u32 = 2;

/// Clients of fra are sent to 192.0.2.1, or to 192.0.2.2 at nyc. What is probed are these servers.
fn two_sites(check: &str, fra: SocketAddr, nyc: SocketAddr, more: &str) -> String {
    format!(
        r#"
[[site]]
name = "fra"
latitude = 50.11
longitude = 8.68
[[site]]
name = "nyc"
latitude = 40.71
longitude = -74.01
[check.it]
{check}
interval = "50ms"
timeout = "150ms"
rise = {RISE}
fall = {FALL}
{more}
[policy.api.private]
check = "it"
all_down = "fail"
endpoints = [
    {{ site = "fra", address = "192.0.2.1", probe = "{fra}" }},
    {{ site = "nyc", address = "192.0.2.2", probe = "{nyc}" }},
]
"#
    )
}

/// What a client of fra is answered.
fn answer(health: &Health) -> Option<IpAddr> {
    let snapshot = health.snapshot();
    let viewed = &snapshot.policies["api"];
    let tables = Tables::new(&viewed.policy, &snapshot.sites, &viewed.view);
    let fra = snapshot.sites.id("fra").expect("it is there");
    let picked = tables.pick(fra, Family::V4, CLIENT);
    assert_eq!(
        picked.outcome() == Outcome::Fail,
        picked.addresses().len() == 0
    );
    picked.addresses().next()
}

fn fra() -> Option<IpAddr> {
    Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)))
}

fn nyc() -> Option<IpAddr> {
    Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)))
}

/// How long it takes until this is answered.
async fn time_to(health: &Health, expected: Option<IpAddr>) -> Duration {
    const PATIENCE: Duration = Duration::from_secs(10);
    let asked = Instant::now();
    let mut epochs = health.epochs();
    while answer(health) != expected {
        let changed = tokio::time::timeout(PATIENCE, epochs.changed()).await;
        assert!(
            changed.is_ok(),
            "{expected:?} is not answered, but {:?}",
            answer(health)
        );
    }
    asked.elapsed()
}

async fn started(text: &str) -> Arc<Health> {
    let health = Health::new();
    health.apply(plan(text), None).await;
    assert!(health.settled(Duration::from_secs(5)).await);
    health
}

/// A site fails and comes back: both are seen within the threshold's checks, however long one takes, and a moment for a
/// busy machine.
async fn fails_and_returns(kind: Kind, check: &str) {
    const MOMENT: Duration = Duration::from_millis(500);
    let [one, two] = [Server::start(kind).await, Server::start(kind).await];
    let health = started(&two_sites(check, one.address, two.address, "")).await;
    assert_eq!(answer(&health), fra());
    one.fail(true);
    let left = time_to(&health, nyc()).await;
    assert!(left <= TIMEOUT * (FALL + 1) + MOMENT, "{kind:?}: {left:?}");
    assert!(
        left >= INTERVAL * (FALL - 2),
        "{kind:?}: not at the first failure: {left:?}"
    );
    one.fail(false);
    let back = time_to(&health, fra()).await;
    assert!(back <= INTERVAL * (RISE + 1) + MOMENT, "{kind:?}: {back:?}");
    two.fail(true);
    one.fail(true);
    time_to(&health, None).await;
}

#[tokio::test]
async fn a_site_fails_and_returns_by_http() {
    fails_and_returns(Kind::Http, "http = { path = \"/healthz\" }").await;
}

#[tokio::test]
async fn a_site_fails_and_returns_by_tcp() {
    fails_and_returns(Kind::Tcp, "tcp = { port = 1 }").await;
}

#[tokio::test]
async fn a_site_fails_and_returns_by_udp() {
    fails_and_returns(
        Kind::Udp,
        "udp = { port = 1, send = \"ping\", expect = \"ping\" }",
    )
    .await;
}

#[tokio::test]
async fn a_site_fails_and_returns_by_dns() {
    fails_and_returns(Kind::Dns, "dns = { name = \"api.example.com\" }").await;
}

#[tokio::test]
async fn what_is_removed_is_not_asked_any_more() {
    let [one, two] = [
        Server::start(Kind::Http).await,
        Server::start(Kind::Http).await,
    ];
    let text = two_sites("http = {}", one.address, two.address, "");
    let health = started(&text).await;
    let removed = format!(
        "{{ site = \"nyc\", address = \"192.0.2.2\", probe = \"{}\" }},",
        two.address
    );
    let without = text.replace(&removed, "");
    assert_ne!(without, text);
    health.apply(plan(&without), None).await;
    tokio::time::sleep(INTERVAL * 4).await; // what was under way arrives
    let (asked, others) = (two.asked(), one.asked());
    tokio::time::sleep(INTERVAL * 10).await;
    assert_eq!(two.asked(), asked, "it was asked after it was removed");
    assert!(one.asked() > others + 3, "the other goes on");
    let asked = one.asked();
    drop(health);
    tokio::time::sleep(INTERVAL * 5).await;
    assert!(
        one.asked() <= asked + 1,
        "checks end with what they are for"
    );
}

#[tokio::test]
async fn what_stays_keeps_its_verdict_over_a_reload() {
    let [one, two] = [
        Server::start(Kind::Http).await,
        Server::start(Kind::Http).await,
    ];
    let text = two_sites("http = {}", one.address, two.address, "");
    let health = started(&text).await;
    one.fail(true);
    time_to(&health, nyc()).await;
    health.apply(plan(&text), None).await;
    assert_eq!(answer(&health), nyc(), "fra is not tried anew");
    let weights = text.replace(
        "address = \"192.0.2.2\"",
        "address = \"192.0.2.2\", weight = 7",
    );
    health.apply(plan(&weights), None).await;
    assert_eq!(answer(&health), nyc(), "and nyc is not unknown");
}

#[tokio::test]
async fn the_first_answer_waits_for_the_first_check() {
    let silent = Server::start(Kind::Silent).await;
    let text = |more| two_sites("http = {}", silent.address, silent.address, more);
    let health = Health::new();
    health.apply(plan(&text("")), None).await;
    let status = || health.snapshot().policies["api"].view.endpoints[0].status;
    assert_eq!(
        (status(), answer(&health)),
        (Status::Unknown, None),
        "nobody knows yet"
    );
    assert!(
        health.settled(Duration::from_secs(5)).await,
        "the time-out is an outcome"
    );
    assert_eq!(status(), Status::Down);
    let hopeful = Health::new();
    hopeful.apply(plan(&text("start = \"up\"")), None).await;
    assert_eq!(answer(&hopeful), fra(), "as configured");
    time_to(&hopeful, None).await;
    let gloomy = Health::new();
    gloomy.apply(plan(&text("start = \"down\"")), None).await;
    assert_eq!(answer(&gloomy), None);
}

#[tokio::test]
async fn half_of_all_answers_lost_is_no_flapping() {
    let [one, two] = [
        Server::start(Kind::Http).await,
        Server::start(Kind::Http).await,
    ];
    let text = two_sites("http = {}", one.address, two.address, "").replace("\"50ms\"", "\"10ms\"");
    let health = started(&text).await;
    one.fail_half(true);
    let mut epochs = health.epochs();
    let mut changes = 0;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(4) {
        let changed = tokio::time::timeout(Duration::from_millis(100), epochs.changed()).await;
        changes += usize::from(changed.is_ok());
    }
    assert!(
        one.asked() > 150,
        "{} checks are too few to tell",
        one.asked()
    );
    assert!(
        (1..=5).contains(&changes),
        "{changes} changes in {} checks",
        one.asked()
    );
}

#[tokio::test]
async fn endpoints_with_one_probe_share_its_checks() {
    let one = Server::start(Kind::Http).await;
    let health = started(&two_sites("http = {}", one.address, one.address, "")).await;
    let (asked, begun) = (one.asked(), Instant::now());
    tokio::time::sleep(INTERVAL * 10).await;
    let more = one.asked() - asked;
    let turns = begun.elapsed().as_millis() / (INTERVAL * 95 / 100).as_millis();
    assert!(
        more as u128 <= turns + 2,
        "{more} checks in the time of {turns}"
    );
    one.fail(true);
    time_to(&health, None).await;
}

#[tokio::test]
async fn a_port_that_nobody_listens_on_is_down_and_the_reason_is_told() {
    let two = Server::start(Kind::Http).await;
    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let health = started(&two_sites("http = {}", closed, two.address, "")).await;
    assert_eq!(answer(&health), nyc());
    let report = health.report();
    let endpoint = &report[0].endpoints[0];
    assert!(
        endpoint.why.as_ref().unwrap().contains("refused"),
        "{endpoint:?}"
    );
    assert!(endpoint.checks_failed > 0 && endpoint.checks_passed == 0);
}
