//! How soon answers follow what is well, and that they do not flap when half of all checks fail.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tidegate_tests::eventually::SOON;
use tidegate_tests::name_server::NameServer;
use tidegate_tests::question::ask;
use tidegate_tests::upstream::Upstream;

const FRA: &str = "192.0.2.1";
const NYC: &str = "192.0.2.2";
const FALL: u64 = 3;
const RISE: u64 = 2;
/// What the answer may lag behind the outcome that decides.
const LAG: Duration = Duration::from_secs(2);

/// Two policies with the same probes: `damped`, and `plain` without damping.
fn configuration(fra: SocketAddr, nyc: SocketAddr, interval: Duration) -> String {
    let mut text = String::from(
        "[[site]]\nname = \"fra\"\n[[site]]\nname = \"nyc\"\n[geo]\ndefault = \"fra\"\n\
         [[zone]]\nname = \"example.test\"\nns = [\"ns1.example.net.\"]\n",
    );
    for name in ["damped", "plain"] {
        text += &format!("[[zone.record]]\nname = \"{name}\"\ntype = \"A\"\npolicy = \"{name}\"\n");
    }
    for (name, damping) in [("damped", true), ("plain", false)] {
        text += &format!(
            r#"
[check.{name}]
http = {{ path = "/healthz" }}
interval = "{}ms"
timeout = "1s"
rise = {RISE}
fall = {FALL}
damping = {damping}

[policy.{name}.private]
check = "{name}"
endpoints = [
    {{ site = "fra", address = "{FRA}", probe = "{fra}" }},
    {{ site = "nyc", address = "{NYC}", probe = "{nyc}" }},
]
"#,
            interval.as_millis()
        );
    }
    text
}

/// The address that a name leads to.
fn address(server: &NameServer, name: &str) -> String {
    let answer = ask(server.address, &format!("{name}.example.test"), "A");
    let answer = answer.unwrap_or_else(|| panic!("{name} is not answered"));
    let line = answer.sections[0].first().cloned();
    let line = line.unwrap_or_else(|| panic!("{name} leads nowhere: {answer:?}"));
    line.rsplit(' ').next().unwrap_or_default().to_owned()
}

/// Waits for what is to be true.
async fn until(what: &str, is_so: impl Fn() -> bool) -> Instant {
    let deadline = Instant::now() + SOON;
    while !is_so() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Instant::now()
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_follow_the_deciding_check_within_two_seconds_and_not_before_it() {
    let interval = Duration::from_millis(300);
    let (fra, nyc) = (Upstream::start("fra").await, Upstream::start("nyc").await);
    let configuration = configuration(fra.address, nyc.address, interval);
    let server = NameServer::start(&configuration, |_| {}).await;
    assert_eq!(address(&server, "damped"), FRA);
    // Two checks ask, one for each policy.
    fra.set_healthy(false);
    let before = fra.failed_checks();
    until("the checks before the last ones", || {
        fra.failed_checks() >= before + 2 * (FALL - 1)
    })
    .await;
    assert_eq!(address(&server, "damped"), FRA, "not at the first failure");
    let fallen = until("as many failures as it takes", || {
        fra.failed_checks() >= before + 2 * FALL
    })
    .await;
    let left = until("the answer changes", || address(&server, "damped") == NYC).await;
    assert!(left - fallen < LAG, "{:?}", left - fallen);

    let (checks, failed) = (fra.checks(), fra.failed_checks());
    fra.set_healthy(true);
    let risen = until("as many good checks as it takes", || {
        let bad = fra.failed_checks() - failed;
        fra.checks() - checks - bad >= 2 * RISE
    })
    .await;
    let back = until("the answer changes back", || {
        address(&server, "damped") == FRA
    })
    .await;
    assert!(back - risen < LAG, "{:?}", back - risen);
}

/// Of each endpoint, while it flaps.
const CHECKS: u64 = 400;

/// With half of all checks lost, a run of `n` good ones is 2^(n+1) - 2 checks away on average. After the second fall 8 are
/// needed, after the third 32, which is 8.6e9 checks away: 5 changes are the most (down, up, down, up, down). Without damping a
/// fall (14 checks) and a rise (6) come every 20 checks, 40 changes on average.
#[tokio::test(flavor = "multi_thread")]
async fn answers_do_not_flap_when_half_of_all_checks_fail() {
    let interval = Duration::from_millis(25);
    let (fra, nyc) = (Upstream::start("fra").await, Upstream::start("nyc").await);
    let configuration = configuration(fra.address, nyc.address, interval);
    let server = NameServer::start(&configuration, |_| {}).await;
    fra.flap();
    let before = fra.checks();
    let names = ["damped", "plain"];
    let mut last = names.map(|name| address(&server, name));
    let mut changes = [0, 0];
    let deadline = Instant::now() + Duration::from_secs(60);
    while fra.checks() < before + 2 * CHECKS {
        assert!(
            Instant::now() < deadline,
            "too few checks: {}",
            fra.checks()
        );
        for (at, name) in names.iter().enumerate() {
            let now = address(&server, name);
            changes[at] += u32::from(now != last[at]);
            last[at] = now;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let [damped, plain] = changes;
    println!("{CHECKS} checks: {damped} changes with damping, {plain} without");
    assert!(plain >= 10, "half of the checks were lost: {plain} changes");
    assert!((1..=5).contains(&damped), "{damped} changes");
}
