//! Listeners: addresses of every kind, limits, changes while it serves.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use tidegate_tests::eventually::{SOON, eventually};
use tidegate_tests::gateway::Gateway;
use tidegate_tests::load::Load;
use tidegate_tests::nginx::free_address;
use tidegate_tests::process::Process;
use tidegate_tests::succession::cpu_ticks;
use tidegate_tests::upstream::Upstream;
use tidegate_tests::versions::Versions;
use tidegate_tests::wire::{Wire, ask};
use tokio::net::TcpStream;

const REQUEST: &str = "GET / HTTP/1.1\r\nhost: a.test\r\n\r\n";

/// A configuration with these listeners, each a table without its braces.
fn configuration(upstream: &Upstream, more: &str, listeners: &[&str]) -> String {
    let listeners: Vec<_> = listeners.iter().map(|one| format!("{{ {one} }}")).collect();
    format!(
        r#"admin = {{ address = "127.0.0.1:0" }}
threads = 2
{more}
listener = [{}]
cluster.up.endpoints = [{{ address = "{}" }}]
route = [{{ name = "all", cluster = "up" }}]
"#,
        listeners.join(", "),
        upstream.address
    )
}

const HTTP: &str = r#"name = "http", address = "127.0.0.1:0""#;

fn curl(socket: &Path) -> io::Result<String> {
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--fail", "--unix-socket"])
        .arg(socket)
        .arg("http://a.test/")
        .output()?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(io::Error::other(String::from_utf8_lossy(&output.stderr))),
    }
}

/// Runs in the background, because the upstream runs here.
async fn asks(socket: &Path) -> io::Result<String> {
    let socket = socket.to_owned();
    tokio::task::spawn_blocking(move || curl(&socket))
        .await
        .expect("curl ends")
}

#[tokio::test]
async fn a_unix_socket_has_its_mode_outlives_a_crash_and_goes_with_a_stop() {
    let upstream = Upstream::start("up").await;
    let folder = tempfile::tempdir().unwrap();
    let (file, socket) = (
        folder.path().join("gateway.toml"),
        folder.path().join("a.sock"),
    );
    let unix = r#"name = "unix", address = "unix:a.sock", mode = "0660""#;
    fs::write(&file, configuration(&upstream, "", &[HTTP, unix])).unwrap();
    let mut gateway = Gateway::of(&file).await;
    let found = fs::metadata(&socket).unwrap();
    assert!(found.file_type().is_socket());
    assert_eq!(found.permissions().mode() & 0o777, 0o660);
    assert!(asks(&socket).await.unwrap().contains("\"upstream\":\"up\""));

    let args = ["gateway".into(), "-c".into(), file.clone().into()];
    let mut second = Process::start(&args, &[]);
    assert_eq!(second.ended(SOON).await.code(), Some(1));
    let told = second.stderr();
    assert!(told.contains("`unix` cannot listen on unix:"), "{told}");
    assert!(asks(&socket).await.is_ok(), "the first serves on");

    gateway.process.signal(Signal::KILL);
    gateway.process.ended(SOON).await;
    assert!(socket.exists(), "nobody could remove it");
    let mut gateway = Gateway::of(&file).await;
    assert!(asks(&socket).await.is_ok());
    gateway.process.signal(Signal::TERM);
    gateway.process.ended(SOON).await;
    assert!(!socket.exists());
}

#[tokio::test]
async fn a_dual_stack_listener_takes_both_families() {
    let upstream = Upstream::start("up").await;
    let both =
        r#"name = "both", address = "[::]:0", dual_stack = true, limits = { per_client = 1 }"#;
    let six = r#"name = "six", address = "[::]:0""#;
    let gateway = Gateway::with(&configuration(&upstream, "", &[both, six])).await;
    let at =
        |ip: &str, name: &str| SocketAddr::new(ip.parse().unwrap(), gateway.listener(name).port());
    for ip in ["127.0.0.1", "::1"] {
        ask(at(ip, "both"), REQUEST).await.expect(200);
    }
    ask(at("::1", "six"), REQUEST).await.expect(200);
    assert!(TcpStream::connect(at("127.0.0.1", "six")).await.is_err());
    let seen = upstream.seen();
    assert_eq!(
        seen[0].headers["x-forwarded-for"], "127.0.0.1",
        "not ::ffff:127.0.0.1"
    );
}

async fn refused(gateway: &Gateway, listener: &str, reason: &str) -> f64 {
    let series = format!(
        "tidegate_gateway_connections_refused_total{{listener=\"{listener}\",reason=\"{reason}\"}}"
    );
    gateway
        .admin
        .metric(&series)
        .await
        .expect("it is always there")
}

/// Whether a request on a new connection is answered; the connection, to keep it open.
async fn served(address: SocketAddr) -> Option<Wire> {
    let mut wire = Wire::connect(address).await.ok()?;
    wire.exchange(REQUEST)
        .await
        .ok()
        .filter(|answer| answer.status == 200)?;
    Some(wire)
}

#[tokio::test]
async fn a_connection_over_a_limit_is_closed_at_once_and_counted() {
    let upstream = Upstream::start("up").await;
    let client = r#"name = "client", address = "127.0.0.1:0", limits = { per_client = 2 }"#;
    let few = r#"name = "few", address = "127.0.0.1:0", limits = { connections = 3 }"#;
    let text = configuration(
        &upstream,
        "limits = { connections = 6 }",
        &[HTTP, client, few],
    );
    let gateway = Gateway::with(&text).await;
    let mut open = Vec::new();
    for (listener, limit, reason) in [
        ("client", 2, "limit_client"),
        ("few", 3, "limit_listener"),
        ("http", 1, "limit_all"),
    ] {
        let address = gateway.listener(listener);
        for _ in 0..limit {
            open.push(served(address).await.expect("within the limit"));
        }
        for _ in 0..5 {
            assert!(served(address).await.is_none(), "{listener}");
        }
        assert_eq!(refused(&gateway, listener, reason).await, 5.0);
        let series = format!("tidegate_gateway_connections{{listener=\"{listener}\"}}");
        assert_eq!(gateway.admin.metric(&series).await, Some(f64::from(limit)));
    }
    // Another address of this machine is another client.
    drop(open.pop());
    eventually("one has gone", SOON, async || {
        served(gateway.listener("http")).await.map(drop)
    })
    .await;
    // The gateway may not have noticed yet that that one has gone too.
    eventually("it is served", SOON, async || {
        let other = tokio::net::TcpSocket::new_v4().unwrap();
        other.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        let other = other.connect(gateway.listener("client")).await.ok()?;
        Wire::over(other).exchange(REQUEST).await.ok()
    })
    .await;
    drop(open);
    eventually("new ones are served", SOON, async || {
        served(gateway.listener("client")).await
    })
    .await;
}

#[tokio::test]
async fn without_descriptors_it_pauses_and_recovers() {
    let upstream = Upstream::start("up").await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.toml");
    let text = configuration(&upstream, "limits = { connections = 1000 }", &[HTTP]);
    fs::write(&file, text).unwrap();
    let args = ["gateway".into(), "-c".into(), file.into()];
    let process = Process::through("ulimit -n 64; exec \"$@\"", Stdio::null(), &args);
    let gateway = Gateway::running(process).await;
    let address = gateway.listener("http");
    let mut waiting = Vec::new();
    for _ in 0..100 {
        waiting.push(Wire::connect(address).await.unwrap());
    }
    let before = cpu_ticks(gateway.process.id());
    tokio::time::sleep(Duration::from_secs(2)).await;
    let ticks = cpu_ticks(gateway.process.id()) - before;
    assert!(ticks < 20, "it spins: {ticks} ticks of 10 ms in 2 s");
    let lines = gateway.process.stderr();
    let lines = lines
        .lines()
        .filter(|line| line.contains("cannot accept"))
        .count();
    assert!((1..=4).contains(&lines), "{lines} lines");
    drop(waiting);
    eventually("it serves again", SOON, async || served(address).await).await;
    assert!(refused(&gateway, "http", "no_descriptors").await >= 1.0);
}

#[tokio::test]
async fn without_a_limit_clients_leave_descriptors_for_everything_else() {
    let upstream = Upstream::start("up").await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.toml");
    let check = "cluster.up.check = { path = \"/healthz\", interval = \"50ms\", fall = 1 }";
    fs::write(&file, configuration(&upstream, check, &[HTTP])).unwrap();
    let args = ["gateway".into(), "-c".into(), file.into()];
    let process = Process::through("ulimit -n 128; exec \"$@\"", Stdio::null(), &args);
    let gateway = Gateway::running(process).await;
    let address = gateway.listener("http");
    let mut held = Vec::new();
    for _ in 0..150 {
        held.push(Wire::connect(address).await.unwrap());
    }
    eventually("the limit is reached", SOON, async || {
        (refused(&gateway, "http", "limit_all").await > 0.0).then_some(())
    })
    .await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(refused(&gateway, "http", "no_descriptors").await, 0.0);
    let endpoint = format!("cluster=\"up\",endpoint=\"{}\"", upstream.address);
    let healthy = format!("tidegate_gateway_endpoint_healthy{{{endpoint}}}");
    assert_eq!(gateway.admin.metric(&healthy).await, Some(1.0));
    drop(held.drain(..10));
    eventually("there is room again", SOON, async || served(address).await).await;
}

#[tokio::test]
async fn a_reload_changes_names_options_and_addresses_while_it_serves() {
    let upstream = Upstream::start("up").await;
    let port = free_address().port();
    let fixed = |name: &str, address: &str, more: &str| {
        format!("name = \"{name}\", address = \"{address}:{port}\"{more}")
    };
    let limit = ", limits = { per_client = 1000 }, backlog = 128, tcp = { keepalive = \"60s\", nodelay = false }";
    let dual = ", dual_stack = true";
    let texts = [
        ("first", fixed("web", "127.0.0.1", "")),
        ("renamed", fixed("www", "127.0.0.1", "")),
        ("options", fixed("www", "127.0.0.1", limit)),
        ("wildcard", fixed("www", "0.0.0.0", "")),
        ("dual", fixed("www", "[::]", dual)),
        ("back", fixed("web", "127.0.0.1", "")),
    ];
    let texts =
        texts.map(|(name, listener)| (name, configuration(&upstream, "", &[HTTP, &listener])));
    let versions = Versions::of(&texts);
    let gateway = Gateway::of(&versions.file()).await;
    let address = gateway.listener("web");
    let other = Load::start(gateway.listener("http"), 2, "/", |answer| {
        match answer.status {
            200 => Ok(()),
            _ => Err(answer.text()),
        }
    });
    let mut kept = served(address).await.unwrap();
    for (name, _) in &texts[1..3] {
        versions.switch_to(name);
        gateway.admin.reload().await.expect(200);
        served(address).await.expect(name);
        let answer = kept.exchange(REQUEST).await.unwrap().expect(200);
        assert_ne!(
            answer.header("connection"),
            "close",
            "{name}: the socket stays"
        );
    }
    let renamed = gateway
        .admin
        .metric("tidegate_gateway_connections{listener=\"www\"}")
        .await;
    assert!(renamed.is_some_and(|open| open >= 1.0), "{renamed:?}");
    for (name, _) in &texts[3..] {
        versions.switch_to(name);
        gateway.admin.reload().await.expect(200);
        eventually(name, SOON, async || served(address).await).await;
    }
    other.more(20).await;
    other.stop().await.assert_unbroken();
}
