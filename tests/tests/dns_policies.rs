//! Which site a client gets: with real checks, real questions, and operators. `dig` must not keep the servers
//! from answering checks: several threads.

use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use tidegate_tests::binary::{repository, run};
use tidegate_tests::eventually::{SOON, eventually};
use tidegate_tests::name_server::NameServer;
use tidegate_tests::question::ask;
use tidegate_tests::upstream::Upstream;

const FRA: &str = "192.0.2.1";
const NYC: &str = "192.0.2.2";
/// A network of nyc; all others are of fra.
const OF_NYC: &str = "198.51.100.0/24";
const ELSEWHERE: &str = "203.0.113.0/24";

const INTERVAL: Duration = Duration::from_millis(200);
const TIMEOUT: Duration = Duration::from_millis(500);
const FALL: u32 = 3;
const RISE: u32 = 2;
/// How long an answer may take to follow a threshold.
const SEEN: Duration = Duration::from_secs(2);

struct TwoSites {
    fra: Upstream,
    nyc: Upstream,
    server: NameServer,
}

impl TwoSites {
    async fn start() -> Self {
        Self::start_with("").await
    }

    async fn start_with(more: &str) -> Self {
        let (fra, nyc) = (Upstream::start("fra").await, Upstream::start("nyc").await);
        let configuration = configuration(fra.address, nyc.address) + more;
        let server = NameServer::start(&configuration, |_| {}).await;
        Self { fra, nyc, server }
    }

    /// What `dig` is told for a network.
    fn asked(&self, network: &str) -> String {
        let output = Command::new("dig")
            .arg(format!("@{}", self.server.address.ip()))
            .args(["-p", &self.server.address.port().to_string()])
            .args([&format!("+subnet={network}"), "api.example.test"])
            .output()
            .unwrap_or_else(|error| panic!("dig: {error}: make setup-tests"));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn is_at(&self, network: &str, address: &str) -> bool {
        self.asked(network).contains(&format!("A\t{address}\n"))
    }

    /// How long it takes until a network is answered with this address.
    async fn time_to(&self, network: &str, address: &str) -> Duration {
        let began = Instant::now();
        let what = format!("{network} is answered with {address}");
        eventually(&what, SOON, async || {
            self.is_at(network, address).then_some(())
        })
        .await;
        began.elapsed()
    }
}

fn configuration(fra: SocketAddr, nyc: SocketAddr) -> String {
    format!(
        r#"
[[zone]]
name = "example.test"
ns = ["ns1.example.net."]

[[zone.record]]
name = "api"
type = "A"
ttl = "5s"
policy = "api"

[[site]]
name = "fra"

[[site]]
name = "nyc"

[geo]
default = "fra"
networks = {{ "{OF_NYC}" = "nyc" }}

[check.edge]
http = {{ path = "/healthz" }}
interval = "{}ms"
timeout = "{}ms"
rise = {RISE}
fall = {FALL}

[policy.api.private]
check = "edge"
endpoints = [
    {{ site = "fra", address = "{FRA}", probe = "{fra}" }},
    {{ site = "nyc", address = "{NYC}", probe = "{nyc}" }},
]

[health]
state = "state.json"
"#,
        INTERVAL.as_millis(),
        TIMEOUT.as_millis()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn each_network_gets_its_site_and_learns_for_whom_that_holds() {
    let sites = TwoSites::start().await;
    for (network, address, scope) in [(OF_NYC, NYC, 24), (ELSEWHERE, FRA, 5)] {
        let said = sites.asked(network);
        assert!(said.contains(&format!("\t5\tIN\tA\t{address}\n")), "{said}");
        let subnet = format!("CLIENT-SUBNET: {network}/{scope}");
        assert!(said.contains(&subnet), "{subnet}:\n{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_that_fails_is_left_and_one_that_is_well_again_returns() {
    let sites = TwoSites::start().await;
    assert!(sites.is_at(OF_NYC, NYC), "from the first answer on");
    sites.nyc.set_healthy(false);
    let left = sites.time_to(OF_NYC, FRA).await;
    assert!(
        left < (INTERVAL * 11 / 10) * FALL + TIMEOUT + SEEN,
        "{left:?}"
    );
    assert!(left > INTERVAL * (FALL - 2), "not at the first: {left:?}");
    assert!(sites.is_at(ELSEWHERE, FRA), "others stay");
    sites.nyc.set_healthy(true);
    let back = sites.time_to(OF_NYC, NYC).await;
    assert!(
        back < (INTERVAL * 11 / 10) * RISE + TIMEOUT + SEEN,
        "{back:?}"
    );
    // Both fail: what was up last is answered, not nothing.
    sites.nyc.set_healthy(false);
    sites.time_to(OF_NYC, FRA).await;
    sites.fra.set_healthy(false);
    tokio::time::sleep(INTERVAL * (FALL + 2)).await;
    assert!(sites.is_at(OF_NYC, FRA) || sites.is_at(OF_NYC, NYC));
}

#[tokio::test(flavor = "multi_thread")]
async fn checks_gate_the_first_answer() {
    let mut sites = TwoSites::start().await;
    sites.nyc.set_healthy(false);
    sites.server.restart().await;
    for _ in 0..5 {
        let said = sites.asked(OF_NYC);
        assert!(said.contains(&format!("A\t{FRA}\n")), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_drains_a_site_and_a_restart_keeps_that() {
    let mut sites = TwoSites::start().await;
    let endpoint = format!("/policies/api/endpoints/{NYC}");
    let answer = sites.server.admin.patch(&endpoint, r#"{"weight": 0}"#);
    assert_eq!(answer.await.status, 204);
    sites.time_to(OF_NYC, FRA).await;
    sites.server.restart().await;
    let said = sites.asked(OF_NYC);
    assert!(said.contains(&format!("A\t{FRA}\n")), "{said}");
    assert_eq!(sites.server.admin.reload().await.status, 200);
    assert!(sites.is_at(OF_NYC, FRA), "a reload keeps it too");
    let nobody = "/policies/api/endpoints/192.0.2.77";
    let answer = sites.server.admin.patch(nobody, r#"{"weight": 0}"#).await;
    assert_eq!(answer.status, 404);
    let answer = sites.server.admin.patch(&endpoint, r#"{"weight": null}"#);
    assert_eq!(answer.await.status, 204);
    sites.time_to(OF_NYC, NYC).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stays_keeps_its_health_over_a_reload() {
    let sites = TwoSites::start().await;
    sites.nyc.set_healthy(false);
    sites.time_to(OF_NYC, FRA).await;
    let configuration = configuration(sites.fra.address, sites.nyc.address);
    let changed = configuration.replace("\"5s\"", "\"7s\"");
    sites.server.configure(&changed);
    eventually("the new TTL is answered", SOON, async || {
        let said = sites.asked(OF_NYC);
        assert!(said.contains(&format!("A\t{FRA}\n")), "{said}");
        said.contains("\t7\tIN\tA\t").then_some(())
    })
    .await;
    sites.nyc.set_healthy(true);
    sites.time_to(OF_NYC, NYC).await;
}

/// Answers each check after a while.
fn slow() -> SocketAddr {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::sleep(TIMEOUT * 3 / 5);
            let answer = b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n";
            let _ = stream.and_then(|mut stream| stream.write_all(answer));
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_to_other_endpoints_leaves_nobody_without_an_answer() {
    let sites = TwoSites::start().await;
    let moved = configuration(slow(), slow()).replace("\"192.0.2.", "\"192.0.2.10");
    sites.server.configure(&moved);
    eventually("the new endpoint is answered", SOON, async || {
        let said = sites.asked(OF_NYC);
        assert!(said.contains("A\t192.0.2."), "{said}");
        said.contains("A\t192.0.2.102\n").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn maps_are_watched_and_a_broken_one_changes_nothing() {
    let (fra, nyc) = (Upstream::start("fra").await, Upstream::start("nyc").await);
    let configuration = configuration(fra.address, nyc.address);
    let inline = format!("networks = {{ \"{OF_NYC}\" = \"nyc\" }}\n");
    let files = "files = [\"offices.map\"]\n[[geo.database]]\nfile = \"places.mmdb\"\n\
                 rule = [{ continent = [\"EU\"], site = \"fra\" }]\n";
    let places = repository().join("tests/geo/places.mmdb");
    let map = format!("{OF_NYC} nyc\n");
    let server = NameServer::start(&configuration.replace(&inline, files), |folder| {
        fs::write(folder.join("offices.map"), &map).expect("it is written");
        fs::copy(&places, folder.join("places.mmdb")).expect("it is copied");
    })
    .await;
    let sites = TwoSites { fra, nyc, server };
    let folder = sites.server.folder.path();
    assert!(sites.is_at(OF_NYC, NYC));
    fs::write(folder.join("offices.map"), map.replace("nyc", "fra")).unwrap();
    sites.time_to(OF_NYC, FRA).await;
    fs::write(folder.join("places.mmdb"), "nonsense").unwrap();
    let failed = "tidegate_reload_last_failed";
    for (expected, file) in [(1.0, None), (0.0, Some(&places))] {
        if let Some(file) = file {
            fs::copy(file, folder.join("places.mmdb")).unwrap();
        }
        eventually("the database is read", SOON, async || {
            let now = sites.server.admin.metric(failed).await;
            (now == Some(expected)).then_some(())
        })
        .await;
        assert!(sites.is_at(OF_NYC, FRA));
    }
    // One that is named before it is there is read as soon as it is.
    let later = configuration.replace(&inline, &files.replace("places", "later"));
    sites.server.configure(&later.replace("\"5s\"", "\"7s\""));
    eventually("the database is missed", SOON, async || {
        (sites.server.admin.metric(failed).await == Some(1.0)).then_some(())
    })
    .await;
    fs::copy(&places, folder.join("later.mmdb")).unwrap();
    eventually("the new configuration serves", SOON, async || {
        sites.asked(OF_NYC).contains("\t7\tIN\tA\t").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_successor_knows_what_is_well_and_what_is_set() {
    let (fra, nyc) = (Upstream::start("fra").await, Upstream::start("nyc").await);
    let configuration = configuration(fra.address, nyc.address);
    let configuration = format!("handover = {{ socket = \"door.sock\" }}\n{configuration}");
    let server = NameServer::start(&configuration, |_| {}).await;
    let sites = TwoSites { fra, nyc, server };
    let endpoint = format!("/policies/api/endpoints/{NYC}");
    let answer = sites.server.admin.patch(&endpoint, r#"{"state": "down"}"#);
    assert_eq!(answer.await.status, 204);
    sites.time_to(OF_NYC, FRA).await;
    let successor = sites.server.hand_over();
    let (of_nyc, elsewhere) = (sites.asked(OF_NYC), sites.asked(ELSEWHERE));
    tidegate_tests::process::send(successor, rustix::process::Signal::TERM);
    for said in [of_nyc, elsewhere] {
        assert!(said.contains(&format!("A\t{FRA}\n")), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_tell_sites_and_health() {
    let sites = TwoSites::start().await;
    for network in [OF_NYC, OF_NYC, ELSEWHERE] {
        sites.asked(network);
    }
    let admin = &sites.server.admin;
    for (site, count) in [("nyc", 2.0), ("fra", 1.0)] {
        let metric = format!("tidegate_dns_choices_total{{site=\"{site}\",outcome=\"answer\"}}");
        assert_eq!(admin.metric(&metric).await, Some(count), "{metric}");
    }
    assert_eq!(admin.reload().await.status, 200);
    sites.asked(OF_NYC);
    let metric = "tidegate_dns_choices_total{site=\"nyc\",outcome=\"answer\"}";
    assert_eq!(admin.metric(metric).await, Some(3.0), "a reload counts on");
    let up = format!("tidegate_dns_endpoint_up{{address=\"{NYC}\",policy=\"api\"}}");
    assert_eq!(admin.metric(&up).await, Some(1.0));
    sites.nyc.set_healthy(false);
    eventually("the metric follows", SOON, async || {
        (admin.metric(&up).await == Some(0.0)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_says_why_with_what_is_well_now() {
    let sites = TwoSites::start().await;
    sites.nyc.set_healthy(false);
    sites.time_to(OF_NYC, FRA).await;
    let admin = format!("http://{}", sites.server.admin.address);
    let explain = |more: &[&str]| {
        let args = ["dns", "explain", "api.example.test", "A", "-c", "dns.toml"];
        let args = [&args[..], &["--from", "198.51.100.7"], more].concat();
        let output = run(sites.server.folder.path(), &args);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        (said, String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (live, _) = explain(&["--admin", &admin]);
    for step in [
        &format!("health    as {admin} knows it"),
        "network 198.51.100.0/24 is mapped to nyc at ",
        "dns.toml:21:",
        "private nyc: 192.0.2.2 is down (",
        "private fra: 192.0.2.1 is up, weight 100",
        "answer     api.example.test. 5 A 192.0.2.1",
    ] {
        assert!(live.contains(step), "{step}:\n{live}");
    }
    let (alone, _) = explain(&[]);
    assert!(alone.contains("health    not known, "), "{alone}");
    assert!(alone.contains("api.example.test. 5 A 192.0.2.2"), "{alone}");
    let (nothing, error) = explain(&["--admin", "http://127.0.0.1:1"]);
    assert!(
        nothing.is_empty() && error.contains("http://127.0.0.1:1: "),
        "{error}"
    );
}

/// Names that lead to a policy in other ways than by a record of their own.
const LEADING: &str = r#"
[[zone.record]]
name = "old"
type = "DNAME"
values = ["new.example.test."]

[[zone.record]]
name = "new"
type = "DNAME"
values = ["example.test."]

[[zone.record]]
name = "www"
type = "CNAME"
values = ["api.old.example.test."]

[[zone.record]]
name = "rented"
type = "A"
policy = "rented"

[policy.rented]
spill = 0.25

[policy.rented.private]
endpoints = [{ site = "fra", address = "192.0.2.11" }]

[policy.rented.public]
endpoints = [{ site = "fra", address = "203.0.113.11" }]
"#;

#[tokio::test(flavor = "multi_thread")]
async fn explain_and_the_server_say_the_same_of_names_that_lead_to_a_policy() {
    let (fra, nyc) = (Upstream::start("fra").await, Upstream::start("nyc").await);
    fra.set_healthy(false);
    let configuration = configuration(fra.address, nyc.address) + LEADING;
    let server = NameServer::start(&configuration, |_| {}).await;
    let admin = format!("http://{}", server.admin.address);
    for (name, kind, chosen) in [
        ("api.example.test", "A", true),
        ("api.old.example.test", "A", true),
        ("www.example.test", "A", true),
        ("rented.old.example.test", "A", true),
        ("api.old.example.test", "AAAA", false),
        // A resolver that asks for the alias itself is told no more.
        ("api.old.example.test", "CNAME", false),
        ("none.old.example.test", "A", false),
    ] {
        let said = explained(&server, name, kind, &admin);
        assert_eq!(said.contains("a policy chooses them"), chosen, "{said}");
        let code = said
            .lines()
            .find_map(|line| line.strip_prefix("answer    "));
        let mut records: Vec<String> = said
            .lines()
            .filter_map(|line| line.strip_prefix("          answer     "))
            .map(|line| line.replacen(". ", " ", 1).to_lowercase())
            .collect();
        records.sort();
        let asked = ask(server.address, name, kind).expect("there is an answer");
        assert_eq!(code, asked.head.split(' ').next(), "{said}");
        assert_eq!(records, asked.sections[0], "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_says_what_is_set_and_nothing_else() {
    let sites = TwoSites::start_with(LEADING).await;
    let admin = format!("http://{}", sites.server.admin.address);
    let said = || explained(&sites.server, "rented.example.test", "A", &admin);
    let as_written = said();
    assert!(as_written.contains("spill 25.0%: "), "{as_written}");
    let set = sites
        .server
        .admin
        .patch("/policies/rented", r#"{"spill": 0.5}"#);
    assert_eq!(set.await.status, 204);
    let as_set = said();
    assert!(
        as_set.contains("spill 50.0% (set by the admin API): "),
        "{as_set}"
    );
}

/// What explain says of a name with what the server knows.
fn explained(server: &NameServer, name: &str, kind: &str, admin: &str) -> String {
    let args = [
        "dns", "explain", name, kind, "-c", "dns.toml", "--admin", admin,
    ];
    let output = run(server.folder.path(), &args);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
