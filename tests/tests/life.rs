//! Start, drain, stop, and what survives it.

use std::fs;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use reqwest::{Certificate, Method};
use rustix::process::Signal;
use serde_json::Value;
use tidegate_tests::api::{Api, client};
use tidegate_tests::edge::{Home, start_up};
use tidegate_tests::eventually::{SOON, eventually};
use tidegate_tests::gateway::Gateway;
use tidegate_tests::process::{Process, naming};
use tidegate_tests::tokens::{Signer, part, write_certificate};
use tidegate_tests::upstream::Upstream;
use tidegate_tests::wire::Wire;

const REQUEST: &str = "GET /slow HTTP/1.1\r\nhost: a.test\r\n\r\n";

fn configuration(upstream: &Upstream, more: &str) -> String {
    format!(
        r#"plugins = ["request_id", "access_log"]
admin = {{ address = "127.0.0.1:0" }}
[[listener]]
name = "http"
address = "127.0.0.1:0"
{more}
[cluster.up]
endpoints = [{{ address = "{}" }}]
[plugin.request_id]
[plugin.access_log]
[[route]]
name = "all"
cluster = "up"
"#,
        upstream.address
    )
}

async fn refuses(address: std::net::SocketAddr) {
    eventually("new connections are refused", SOON, async || {
        tokio::net::TcpStream::connect(address).await.err()
    })
    .await;
}

#[tokio::test]
async fn a_stop_lets_requests_in_flight_finish_and_takes_no_new_ones() {
    let upstream = Upstream::start("up").await;
    upstream.set_delay(Duration::from_millis(1500));
    let mut gateway = Gateway::with(&configuration(&upstream, "")).await;
    let address = gateway.listener("http");
    let mut slow = Wire::connect(address).await.unwrap();
    slow.send(REQUEST).await.unwrap();
    eventually("the upstream has it", SOON, async || {
        (upstream.count() == 1).then_some(())
    })
    .await;

    gateway.process.signal(Signal::TERM);
    refuses(address).await;
    assert_eq!(
        gateway.admin.get("/readyz").await.status,
        503,
        "load balancers are told"
    );
    assert_eq!(
        gateway.admin.get("/healthz").await.status,
        200,
        "it is alive"
    );
    let finished = slow
        .answer()
        .await
        .expect("it is answered while the gateway drains");
    finished.expect(200);
    let status = gateway.process.ended(Duration::from_secs(3)).await;
    assert_eq!(status.code(), Some(0));
}

#[tokio::test]
async fn an_idle_connection_does_not_hold_up_a_stop() {
    let upstream = Upstream::start("up").await;
    let mut gateway = Gateway::with(&configuration(&upstream, "")).await;
    let mut idle = Wire::connect(gateway.listener("http")).await.unwrap();
    idle.exchange(REQUEST).await.unwrap().expect(200);
    let silent = Wire::connect(gateway.listener("http")).await.unwrap();
    gateway.process.signal(Signal::TERM);
    let status = gateway.process.ended(Duration::from_secs(3)).await;
    assert_eq!(status.code(), Some(0));
    drop(silent);
}

/// A gateway with TLS, and a client that has an idle HTTP/2 connection to it.
async fn over_http_2(upstream: &Upstream) -> (Gateway, Api, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("temporary folders can be made");
    let file = |name: &str| folder.path().join(name);
    write_certificate(&file("cert.pem"), &file("key.pem"));
    let tls = "tls = { certificate = \"cert.pem\", key = \"key.pem\" }";
    fs::write(file("gateway.toml"), configuration(upstream, tls)).expect("the folder is new");
    let gateway = Gateway::of(&file("gateway.toml")).await;
    let pem = fs::read(file("cert.pem")).expect("it was just written");
    let certificate = Certificate::from_pem(&pem).expect("as a certificate");
    let base = format!("https://{}", gateway.listener("http"));
    let api = Api::new(base, client().tls_certs_only([certificate]));
    let response = api.request(Method::GET, "/").send().await;
    let response = response.expect("the gateway answers");
    assert_eq!(response.version(), reqwest::Version::HTTP_2);
    (gateway, api, folder)
}

#[tokio::test]
async fn an_idle_http_2_connection_does_not_hold_up_a_stop() {
    let upstream = Upstream::start("up").await;
    let (mut gateway, _idle, _folder) = over_http_2(&upstream).await;
    gateway.process.signal(Signal::TERM);
    let status = gateway.process.ended(Duration::from_secs(3)).await;
    assert_eq!(status.code(), Some(0));
}

#[test]
fn a_silent_http_2_client_does_not_hold_up_a_stop() {
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().build().unwrap()
    };
    let (frozen, live) = (runtime(), runtime());
    let (mut gateway, _client, _folder) = frozen.block_on(async {
        let upstream = Upstream::start("up").await;
        over_http_2(&upstream).await
    });
    // From here on nothing runs the client: like a phone without a signal it answers no GOAWAY.
    gateway.process.signal(Signal::TERM);
    let status = live.block_on(gateway.process.ended(Duration::from_secs(5)));
    assert_eq!(status.code(), Some(0));
}

#[tokio::test]
async fn a_stop_lets_http_2_requests_in_flight_finish() {
    let upstream = Upstream::start("up").await;
    let (gateway, api, _folder) = over_http_2(&upstream).await;
    upstream.set_delay(Duration::from_millis(1000));
    let slow = tokio::spawn(api.request(Method::GET, "/slow").send());
    eventually("the upstream has it", SOON, async || {
        (upstream.count() == 2).then_some(())
    })
    .await;
    gateway.process.signal(Signal::TERM);
    let finished = slow
        .await
        .unwrap()
        .expect("it is answered while the gateway drains");
    assert_eq!(finished.status(), 200);
}

#[tokio::test]
async fn a_stopped_edge_leaves_its_data_and_nothing_else() {
    let home = Home::default();
    let mut edge = home.up().await;
    edge.http().register("ada").await.expect(201);
    let token = edge.http().login("ada").await.access;
    assert_eq!(naming(&edge.dir).len(), 5, "up, users, gateway, l4 and dns");
    edge.stop().await;
    assert_eq!(naming(&edge.dir), [0; 0]);
    assert!(edge.process.stdout().contains("the data stays in"));

    let began = Instant::now();
    let again = home.up().await;
    let took = began.elapsed();
    assert!(took < Duration::from_secs(3), "a warm start took {took:?}");
    again.http().get("/v1/me", &token).await.expect(200);
    again.http().login("ada").await;
    again.http().register("ada").await.expect(409);
}

#[tokio::test]
async fn killing_up_leaves_no_role_behind() {
    let home = Home::default();
    let edge = home.up().await;
    assert_eq!(naming(&edge.dir).len(), 5);
    edge.process.signal(Signal::KILL);
    eventually("the roles are gone", Duration::from_secs(2), async || {
        naming(&edge.dir).is_empty().then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_second_up_in_a_folder_is_refused() {
    let home = Home::default();
    let edge = home.up().await;
    let mut second = start_up(&edge.dir, "auto", &[]);
    assert_eq!(second.ended(SOON).await.code(), Some(1));
    let said = second.stderr();
    assert!(
        said.contains("another `tidegate up` is running in"),
        "{said}"
    );
    assert!(said.contains(&edge.dir.display().to_string()), "{said}");
    edge.http().register("ada").await.expect(201);
}

#[tokio::test]
async fn edges_in_two_folders_run_side_by_side() {
    let homes = (Home::default(), Home::default());
    let (first, second) = (homes.0.up().await, homes.1.up().await);
    first.http().register("ada").await.expect(201);
    second.http().register("ada").await.expect(201);
    let token = first.http().login("ada").await.access;
    second.http().get("/v1/me", &token).await.problem(401);
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let stranger = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = stranger.local_addr().unwrap().to_string();
    let home = Home::default();
    let variable = [("TIDEGATE_HTTP", taken.clone())];
    let mut up = start_up(&home.dir(), "fixed", &variable);
    assert_eq!(up.ended(SOON).await.code(), Some(1));
    let said = up.stderr();
    assert!(
        said.contains(&taken) && said.contains("--ports auto"),
        "{said}"
    );

    let upstream = Upstream::start("up").await;
    let text = configuration(&upstream, "").replace(
        "\"http\"\naddress = \"127.0.0.1:0\"",
        &format!("\"http\"\naddress = \"{taken}\""),
    );
    let file = home.dir().join("gateway.toml");
    fs::write(&file, text).unwrap();
    let mut gateway = Process::start(&["gateway".into(), "-c".into(), file.into()], &[]);
    assert_eq!(gateway.ended(SOON).await.code(), Some(1));
    let said = gateway.stderr();
    assert!(said.contains(&taken) && said.contains("`http`"), "{said}");
    drop(stranger);
}

#[tokio::test]
async fn the_access_log_has_one_line_of_json_a_request() {
    let upstream = Upstream::start("up").await;
    let gateway = Gateway::with(&configuration(&upstream, "")).await;
    let mut ids = Vec::new();
    for path in ["/a", "/b?secret=1", "/c%0a", "/d/%22quoted%22"] {
        let answer = gateway.get(path, "user-agent: \"x\"\\\r\n").await;
        ids.push((answer.header("x-request-id").to_owned(), answer.status));
    }
    let lines = eventually("the lines are written", SOON, async || {
        let out = gateway.process.stdout();
        (out.lines().count() >= ids.len()).then_some(out)
    })
    .await;
    assert!(
        !lines.contains("secret"),
        "queries may hold secrets: {lines}"
    );
    let lines: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let mut logged: Vec<_> = lines
        .iter()
        .map(|line| {
            let id = line["request_id"].as_str().unwrap().to_owned();
            (id, u16::try_from(line["status"].as_u64().unwrap()).unwrap())
        })
        .collect();
    // Each thread hands over its own lines: their order is not that of the requests.
    logged.sort_unstable();
    ids.sort_unstable();
    assert_eq!(logged, ids);
    for line in &lines {
        assert!(line["duration_ms"].as_f64().unwrap() > 0.0, "{line}");
        let matched = line["status"] == 200;
        assert_eq!(
            line["route"],
            if matched { "all".into() } else { Value::Null },
            "{line}"
        );
        assert_eq!(line["upstream"].is_string(), matched, "{line}");
    }
}

#[tokio::test]
async fn a_new_signing_key_is_used_without_a_restart_and_the_old_one_still_counts() {
    let home = Home::default();
    let edge = home.up().await;
    let api = edge.http();
    api.register("ada").await.expect(201);
    let old = api.login("ada").await.access;
    api.get("/v1/me", &old).await.expect(200);
    let gateway = edge.role("gateway").await;

    let next = edge.dir.join("data/keys/99990101T000000Z-next.pem");
    fs::write(next, Signer::new().private).unwrap();
    edge.users_admin().reload().await.expect(200);
    let new = api.login("ada").await.access;
    assert_ne!(
        part(&new, 0)["kid"],
        part(&old, 0)["kid"],
        "the new key signs"
    );
    // The gateway asks for unknown keys at most once a second.
    eventually("the new token passes", Duration::from_secs(2), async || {
        (api.get("/v1/me", &new).await.status == 200).then_some(())
    })
    .await;
    api.get("/v1/me", &old).await.expect(200);
    assert_eq!(
        edge.role("gateway").await,
        gateway,
        "the gateway was not restarted"
    );

    fs::write(
        edge.dir.join("data/keys/99990102T000000Z-broken.pem"),
        "no key",
    )
    .unwrap();
    assert_eq!(edge.users_admin().reload().await.status, 422);
    api.get("/v1/me", &api.login("ada").await.access)
        .await
        .expect(200);
}
