//! What operators see of the L4 balancer and set there: health, weights, states, the log of connections, metrics.

use std::collections::HashMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tidegate_tests::eventually::{SOON, eventually};
use tidegate_tests::l4::{Balancer, cluster, listener};
use tidegate_tests::named::{Named, who};
use tokio::net::UdpSocket;

fn configuration(endpoints: &[&Named], cluster: &str, more: &str) -> String {
    let endpoints: Vec<_> = endpoints
        .iter()
        .map(|one| format!("{{ address = \"{}\" }}", one.address))
        .collect();
    format!(
        r#"{more}
[[listener]]
name = "in"
address = "127.0.0.1:0"
cluster = "web"
[check.connects]
tcp = {{}}
interval = "50ms"
timeout = "500ms"
fall = 2
[cluster.web]
endpoints = [{}]
{cluster}
"#,
        endpoints.join(", ")
    )
}

const CHECKED: &str = "check = \"connects\"";

/// Who answers so many connections, and how often.
async fn counts(address: SocketAddr, connections: usize) -> HashMap<Option<String>, usize> {
    let mut counts = HashMap::new();
    for _ in 0..connections {
        *counts.entry(who(address).await).or_default() += 1;
    }
    counts
}

fn only(name: &str, count: usize) -> HashMap<Option<String>, usize> {
    HashMap::from([(Some(name.to_owned()), count)])
}

#[tokio::test]
async fn an_endpoint_that_fails_gets_nothing_new_and_comes_back() {
    let (a, mut b) = (Named::start("a").await, Named::start("b").await);
    b.die().await;
    let balancer = Balancer::start(&configuration(&[&a, &b], CHECKED, "")).await;
    let listener = balancer.listener("in");
    // From the first connection on.
    assert_eq!(counts(listener, 20).await, only("a", 20));
    let found = balancer.endpoint("web", b.address).await;
    assert_eq!(found["well"], false);
    assert!(
        found["why"].as_str().is_some_and(|why| !why.is_empty()),
        "{found}"
    );
    assert_eq!(found["open"], 0, "no connection was tried: {found}");
    b.come_back().await;
    balancer.becomes("web", b.address, true).await;
    let both = counts(listener, 20).await;
    assert_eq!(both[&Some("b".into())], 10, "{both:?}");
    let died = Instant::now();
    b.die().await;
    balancer.becomes("web", b.address, false).await;
    // `fall` is 2, and the pause between checks at most 52.5 ms.
    let took = died.elapsed();
    assert!(took < Duration::from_millis(2 * 53 + 250), "{took:?}");
    assert_eq!(counts(listener, 20).await, only("a", 20));
    let failures = format!(
        "tidegate_l4_endpoint_failures_total{{endpoint=\"{}\"}}",
        b.address
    );
    let failed = balancer.admin.metric(&failures).await;
    assert_eq!(failed, Some(0.0), "nobody was sent to it meanwhile");
}

#[tokio::test]
async fn when_none_is_well_nobody_or_everybody_gets_connections() {
    let a = Named::start("a").await;
    // Checked where nobody listens.
    let probed = |more: &str| {
        let text = configuration(&[&a], CHECKED, "");
        let own = format!("address = \"{}\"", a.address);
        let text = text.replace(&own, &format!("{own}, probe = \"127.0.0.1:1\""));
        text + more
    };
    let balancer = Balancer::start(&probed("")).await;
    let listener = balancer.listener("in");
    assert_eq!(who(listener).await, None);
    let ended = "tidegate_l4_ended_total{listener=\"in\",ending=\"no_endpoint\"}";
    assert_eq!(balancer.admin.metric(ended).await, Some(1.0));
    balancer.reload(&probed("all_down = \"any\"\n")).await;
    assert_eq!(counts(listener, 5).await, only("a", 5));
    let path = format!("/l4/clusters/web/endpoints/{}", a.address);
    balancer
        .admin
        .put(&path, r#"{"state":"down"}"#)
        .await
        .expect(204);
    assert_eq!(who(listener).await, None, "an operator knows better");
}

#[tokio::test]
async fn endpoints_with_the_same_check_at_the_same_address_share_its_outcomes() {
    let a = Named::start("a").await;
    let text = configuration(&[&a], CHECKED, "");
    let more = format!(
        r#"
[cluster.other]
endpoints = [{{ address = "{}" }}]
check = "connects"
[[listener]]
name = "other"
address = "127.0.0.1:0"
cluster = "other"
"#,
        a.address
    );
    let balancer = Balancer::start(&(text + &more)).await;
    let passed = async |cluster| {
        let endpoint = balancer.endpoint(cluster, a.address).await;
        endpoint["checks_passed"].as_u64().expect("it is a number")
    };
    eventually("both are checked", SOON, async || {
        (passed("other").await >= 5).then_some(())
    })
    .await;
    let (before, accepted, after) = (passed("web").await, a.accepted(), passed("other").await);
    // One may be on its way.
    assert!(
        (before..=after + 1).contains(&accepted),
        "{before} <= {accepted} <= {after} + 1"
    );
}

#[tokio::test]
async fn weights_and_states_hold_at_once_and_through_reloads_restarts_and_hand_overs() {
    let (a, b) = (Named::start("a").await, Named::start("b").await);
    let kept = r#"
health = { state = "l4-state.json" }
handover = { socket = "handover.sock" }
"#;
    let text = configuration(&[&a, &b], CHECKED, kept);
    let mut balancer = Balancer::start(&text).await;
    let path = |endpoint: &Named| format!("/l4/clusters/web/endpoints/{}", endpoint.address);
    let admin = balancer.admin;
    admin.put(&path(&a), r#"{"weight":3}"#).await.expect(204);
    let shared = counts(balancer.listener("in"), 40).await;
    assert_eq!(shared[&Some("a".into())], 30, "{shared:?}");
    admin.post(&format!("{}/drain", path(&b))).await.expect(204);
    assert_eq!(counts(balancer.listener("in"), 10).await, only("a", 10));
    admin
        .patch(&path(&a), r#"{"state":"down"}"#)
        .await
        .expect(204);
    admin.patch(&path(&b), r#"{"weight":7}"#).await.expect(204);
    let holds = async |balancer: &Balancer| {
        let found = balancer.endpoint("web", a.address).await;
        assert_eq!(
            (&found["weight"], &found["weight_is_set"]),
            (&json!(3), &json!(true))
        );
        assert_eq!(
            (&found["state"], &found["well"]),
            (&json!("down"), &json!(false))
        );
        let found = balancer.endpoint("web", b.address).await;
        assert_eq!(
            (&found["weight"], &found["share"]),
            (&json!(7), &json!(1.0))
        );
        assert_eq!(counts(balancer.listener("in"), 10).await, only("b", 10));
    };
    holds(&balancer).await;
    balancer
        .reload(&format!("{text}slow_start = \"1ms\"\n"))
        .await;
    holds(&balancer).await;
    balancer.restart().await;
    holds(&balancer).await;
    // It has the same sockets.
    balancer.hand_over().await;
    holds(&balancer).await;
    let back = balancer.admin.put(&path(&a), r#"{"state":null}"#).await;
    back.expect(204);
    let found = balancer.endpoint("web", a.address).await;
    assert_eq!(
        (&found["weight"], &found["state"]),
        (&json!(1), &json!("auto"))
    );
}

#[tokio::test]
async fn what_cannot_be_set_is_a_problem() {
    let a = Named::start("a").await;
    let balancer = Balancer::start(&configuration(&[&a], "", "")).await;
    let path = format!("/l4/clusters/web/endpoints/{}", a.address);
    for (path, body, status, detail) in [
        (
            "/l4/clusters/wep/endpoints/127.0.0.1:1",
            "{}",
            404,
            "there is no cluster `wep`",
        ),
        (
            "/l4/clusters/web/endpoints/127.0.0.1:1",
            "{}",
            404,
            "there is no endpoint 127.0.0.1:1 in the cluster `web`",
        ),
        (
            "/l4/clusters/web/endpoints/web",
            "{}",
            404,
            "it is no address and port",
        ),
        (&path, "{\"weight\":1001}", 422, "a weight is at most 1000"),
        (&path, "{\"weight\":-1}", 422, "invalid value"),
        (&path, "{\"state\":\"off\"}", 422, "unknown variant `off`"),
        (&path, "{\"waight\":1}", 422, "unknown field `waight`"),
    ] {
        let problem = balancer.admin.put(path, body).await.problem(status);
        let told = problem["detail"].as_str().unwrap_or_default();
        assert!(told.contains(detail), "{path} {body}: {told}");
    }
    balancer.admin.get("/l4/clusters/wep").await.problem(404);
    let state = balancer.admin.get("/l4/state").await.expect(200).json();
    let listener = &state["listeners"][0];
    assert_eq!(
        (&listener["name"], &listener["cluster"], &listener["mode"]),
        (&json!("in"), &json!("web"), &json!("proxy"))
    );
    assert_eq!(state["clusters"][0]["scheduler"], "round_robin");
    assert_eq!(state["clusters"][0]["endpoints"][0]["weight_is_set"], false);
}

fn lines(file: &Path) -> Vec<Value> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let lines = text.lines().map(serde_json::from_str);
    lines.collect::<Result<_, _>>().expect("lines are JSON")
}

#[tokio::test]
async fn connections_are_logged_and_counted_as_they_end() {
    let a = Named::start("a").await;
    let log = "connection_log = { file = \"connections.log\" }\n";
    let text = configuration(&[&a], "", log)
        + "\n[cluster.empty]\nendpoints = [{ address = \"127.0.0.1:1\" }]\n[[listener]]\nname = \"refused\"\naddress = \"127.0.0.1:0\"\ncluster = \"empty\"\n";
    let balancer = Balancer::start(&text).await;
    assert_eq!(who(balancer.listener("in")).await.as_deref(), Some("a"));
    assert_eq!(who(balancer.listener("refused")).await, None);
    let file = balancer.folder.path().join("connections.log");
    let logged = eventually("two lines", SOON, async || {
        Some(lines(&file)).filter(|lines| lines.len() == 2)
    })
    .await;
    let of = |listener: &str| {
        let found = logged.iter().find(|line| line["listener"] == listener);
        found.expect("each has its line")
    };
    let served = of("in");
    assert_eq!(
        (&served["ending"], &served["cluster"]),
        (&json!("done"), &json!("web"))
    );
    assert_eq!(served["endpoint"], a.address.to_string());
    assert_eq!(served["service"], balancer.listener("in").to_string());
    assert_eq!(
        (&served["up"], &served["down"]),
        (&json!(0), &json!(2)),
        "{served}"
    );
    assert!(
        served["setup_ms"]
            .as_f64()
            .is_some_and(|took| took > 0.0 && took < 5000.0)
    );
    let refused = of("refused");
    assert_eq!(refused["ending"], "not_connected");
    assert!(
        refused.get("endpoint").is_none() && refused.get("setup_ms").is_none(),
        "{refused}"
    );
    let metric = async |name: &str| balancer.admin.metric(name).await;
    assert_eq!(
        metric("tidegate_l4_setup_seconds_count{listener=\"in\"}").await,
        Some(1.0)
    );
    assert_eq!(
        metric("tidegate_l4_setup_seconds_count{listener=\"refused\"}").await,
        Some(0.0)
    );
    assert_eq!(
        metric("tidegate_l4_connection_log_dropped_total").await,
        Some(0.0)
    );
    let octets = "tidegate_l4_octets_total{listener=\"in\",direction=\"down\"}";
    assert_eq!(metric(octets).await, Some(2.0));
    let pressure = balancer.admin.get("/pressure").await.expect(200).json();
    assert_eq!(pressure["in_flight"], 0, "{pressure}");
    assert!(pressure["limit"].as_u64().is_some_and(|limit| limit > 0));
    assert_eq!(pressure["error_ratio"], 0.5, "{pressure}");
}

#[tokio::test]
async fn sessions_of_datagrams_are_logged_as_connections_are() {
    let endpoint = UdpSocket::bind("127.0.0.1:0")
        .await
        .expect("a port is free");
    let address = endpoint.local_addr().expect("it is bound");
    let log = "connection_log = { file = \"connections.log\" }\n";
    let text = log.to_owned()
        + &listener(
            "udp",
            "protocol = \"udp\"\ncluster = \"echo\"\ntimeouts = { idle = \"300ms\" }",
        )
        + &cluster("echo", &[(address, 1)], "");
    let balancer = Balancer::start(&text).await;
    let client = UdpSocket::bind("127.0.0.1:0")
        .await
        .expect("a port is free");
    let service = balancer.listener("udp");
    client.send_to(b"hello", service).await.expect("it is sent");
    let mut buffer = [0; 16];
    let (length, from) = endpoint.recv_from(&mut buffer).await.expect("it comes");
    let answer = endpoint.send_to(b"hello, you", from).await;
    assert_eq!((length, answer.expect("it is sent")), (5, 10));
    let file = balancer.folder.path().join("connections.log");
    let line = eventually("the session ends", SOON, async || lines(&file).pop()).await;
    assert_eq!(
        (&line["ending"], &line["cluster"]),
        (&json!("idle"), &json!("echo"))
    );
    assert_eq!(
        (&line["up"], &line["down"]),
        (&json!(5), &json!(10)),
        "{line}"
    );
    let own = client.local_addr().expect("it is bound").to_string();
    assert_eq!(
        (&line["client"], &line["service"]),
        (&json!(own), &json!(service.to_string()))
    );
    assert_eq!(line["endpoint"], address.to_string());
}

#[tokio::test]
async fn one_of_so_many_connections_is_logged_when_that_is_wanted() {
    let a = Named::start("a").await;
    let log = "threads = 1\nconnection_log = { file = \"connections.log\", sample = 5 }\n";
    let balancer = Balancer::start(&configuration(&[&a], "", log)).await;
    counts(balancer.listener("in"), 23).await;
    let file = balancer.folder.path().join("connections.log");
    eventually("one in five", SOON, async || {
        (lines(&file).len() == 4).then_some(())
    })
    .await;
    fs::rename(&file, balancer.folder.path().join("old.log")).expect("they are in one folder");
    balancer.admin.reload().await.expect(200);
    counts(balancer.listener("in"), 5).await;
    eventually("the new file", SOON, async || {
        (lines(&file).len() == 1).then_some(())
    })
    .await;
}
