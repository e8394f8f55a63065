//! The balancer and datagrams: sessions through reloads and hand-overs, and what is told of them.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;
use tidegate_tests::admin::Admin;
use tidegate_tests::binary;
use tidegate_tests::eventually::{SOON, eventually};
use tidegate_tests::process::{Process, send};

/// An endpoint that answers what it is called and from which port it was asked.
fn endpoint(name: &'static str) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback has sockets");
    let address = socket.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        let mut buffer = [0; 2000];
        while let Ok((_, from)) = socket.recv_from(&mut buffer) {
            let answer = format!("{name} {}", from.port());
            let _ = socket.send_to(answer.as_bytes(), from);
        }
    });
    address
}

/// A balancer.
struct Balancer {
    process: Process,
    admin: Admin,
    address: SocketAddr,
    folder: TempDir,
    successor: Option<u32>,
}

impl Balancer {
    async fn start(configuration: &str) -> Self {
        let folder = TempDir::new().expect("temporary folders can be made");
        write(folder.path(), configuration);
        let file = folder.path().join("l4.toml");
        let mut process = Process::start(&["l4".into(), "-c".into(), file.into()], &[]);
        let ready = process.ready().await;
        Self {
            process,
            admin: Admin {
                address: address(&ready, "admin"),
            },
            address: address(&ready, "udp"),
            folder,
            successor: None,
        }
    }

    /// Lets another process take its place.
    fn hand_over(&mut self) {
        // Not a pipe: the successor would keep it open.
        let printed = self.folder.path().join("printed");
        let file = fs::File::create(&printed).expect("files can be made");
        let ready = self.folder.path().join("ready.json");
        let status = Command::new(binary::path())
            .args(["handover", "-c"])
            .arg(self.folder.path().join("l4.toml"))
            .arg("--ready-file")
            .arg(&ready)
            .stdout(file)
            .stderr(std::process::Stdio::null())
            .status();
        let text = fs::read_to_string(&printed).expect("it was just made");
        assert!(status.expect("the binary starts").success(), "{text}");
        let successor = text.split_whitespace().nth(1);
        self.successor = successor.and_then(|id| id.parse().ok());
        assert!(self.successor.is_some(), "{text}");
        let ready = fs::read(&ready).expect("a successor was ready");
        let ready = serde_json::from_slice(&ready).expect("it is JSON");
        self.admin.address = address(&ready, "admin");
    }

    fn client(&self) -> UdpSocket {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback has sockets");
        socket.connect(self.address).expect("it is there");
        socket
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        if let Some(successor) = self.successor {
            send(successor, Signal::KILL);
        }
    }
}

fn write(folder: &Path, configuration: &str) {
    let door = folder.join("door.sock");
    let begin = format!(
        "admin = {{ address = \"127.0.0.1:0\" }}\nhandover = {{ socket = \"{}\" }}\n",
        door.display()
    );
    fs::write(folder.join("l4.toml"), begin + configuration).expect("files can be written");
}

fn address(ready: &Value, name: &str) -> SocketAddr {
    let address = ready["addresses"][name].as_str();
    let address = address.unwrap_or_else(|| panic!("there is no {name} in {ready}"));
    address.parse().expect("it is an address")
}

/// What is answered, without a second question.
fn ask(client: &UdpSocket) -> String {
    let mut buffer = [0; 100];
    client.send(b"who?").expect("the listener is there");
    client
        .set_read_timeout(Some(Duration::from_secs(5)))
        .expect("it is a time");
    let length = client.recv(&mut buffer).expect("there is an answer");
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}

fn configuration(endpoints: &[SocketAddr], more: &str) -> String {
    let endpoints: Vec<_> = endpoints
        .iter()
        .map(|address| format!("{{ address = \"{address}\" }}"))
        .collect();
    format!(
        r#"
[[listener]]
name = "udp"
address = "127.0.0.1:0"
protocol = "udp"
cluster = "echo"
{more}

[cluster.echo]
endpoints = [{}]
"#,
        endpoints.join(", ")
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_outlive_reloads_and_hand_overs() {
    let endpoints = [endpoint("one"), endpoint("two")];
    let mut balancer = Balancer::start(&configuration(&endpoints, "")).await;
    let clients: Vec<_> = (0..40).map(|_| balancer.client()).collect();
    let before: Vec<_> = clients.iter().map(ask).collect();
    let to_one = before.iter().filter(|answer| answer.starts_with("one"));
    assert_eq!(to_one.count(), 20, "they go in turns");

    write(
        balancer.folder.path(),
        &configuration(&endpoints, "limits = { connections = 1000 }"),
    );
    assert_eq!(balancer.admin.reload().await.status, 200);
    let after: Vec<_> = clients.iter().map(ask).collect();
    assert_eq!(after, before);

    for _ in 0..3 {
        balancer.hand_over();
        let after: Vec<_> = clients.iter().map(ask).collect();
        assert_eq!(after, before);
        let new = balancer.client();
        ask(&new);
    }
    // The first has nothing left to do.
    assert!(balancer.process.ended(SOON).await.success());
    let open = balancer
        .admin
        .metric("tidegate_l4_open{listener=\"udp\"}")
        .await;
    assert!(open.is_some_and(|open| open >= 40.0), "{open:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_and_counters_are_those_of_the_listener() {
    let endpoints = [endpoint("one")];
    let more = "limits = { per_client = 3 }\ntimeouts = { idle = \"1s\" }";
    let balancer = Balancer::start(&configuration(&endpoints, more)).await;
    let clients: Vec<_> = (0..3).map(|_| balancer.client()).collect();
    clients.iter().for_each(|client| drop(ask(client)));
    let fourth = balancer.client();
    fourth.send(b"who?").unwrap();
    let dropped = "tidegate_l4_datagrams_dropped_total{listener=\"udp\",reason=\"not_admitted\"}";
    let metrics = [
        (dropped, 1.0),
        (
            "tidegate_l4_datagrams_total{direction=\"up\",listener=\"udp\"}",
            3.0,
        ),
        (
            "tidegate_l4_session_events_total{event=\"begun\",listener=\"udp\"}",
            3.0,
        ),
        (
            "tidegate_l4_ended_total{ending=\"idle\",listener=\"udp\"}",
            3.0,
        ),
        ("tidegate_l4_open{listener=\"udp\"}", 0.0),
    ];
    for (metric, want) in metrics {
        eventually(metric, SOON, async || {
            let found = balancer.admin.metric(metric).await;
            (found == Some(want)).then_some(())
        })
        .await;
    }
    // There is room again.
    ask(&fourth);
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_leave_an_endpoint_that_a_reload_removes() {
    let endpoints = [endpoint("one"), endpoint("two")];
    let balancer = Balancer::start(&configuration(&endpoints, "")).await;
    let clients: Vec<_> = (0..20).map(|_| balancer.client()).collect();
    let before: Vec<_> = clients.iter().map(ask).collect();
    assert!(before.iter().any(|answer| answer.starts_with("one")));
    // It would go on to answer: nobody looks whether it is well any more.
    write(balancer.folder.path(), &configuration(&endpoints[1..], ""));
    assert_eq!(balancer.admin.reload().await.status, 200);
    for (client, before) in clients.iter().zip(&before) {
        let after = ask(client);
        assert!(after.starts_with("two"), "{after}");
        assert!(before.starts_with("one") || after == *before, "{after}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_with_other_sockets_takes_the_clients_at_once() {
    let endpoints = [endpoint("one")];
    let free = UdpSocket::bind("[::]:0").expect("there are ports");
    let port = free.local_addr().expect("it is bound").port();
    drop(free);
    let wanted = |dual_stack: bool| {
        let address = format!("\"[::]:{port}\"\ndual_stack = {dual_stack}");
        configuration(&endpoints, "").replace("\"127.0.0.1:0\"", &address)
    };
    let balancer = Balancer::start(&wanted(false)).await;
    let client = || {
        let socket = UdpSocket::bind("[::1]:0").expect("loopback has sockets");
        socket.connect(("::1", port)).expect("it is there");
        socket
    };
    let mut clients: Vec<_> = (0..20).map(|_| client()).collect();
    clients.iter().for_each(|client| drop(ask(client)));
    write(balancer.folder.path(), &wanted(true));
    assert_eq!(balancer.admin.reload().await.status, 200);
    let ended = "tidegate_l4_ended_total{ending=\"drained\",listener=\"udp\"}";
    eventually("the sessions have ended", SOON, async || {
        (balancer.admin.metric(ended).await == Some(20.0)).then_some(())
    })
    .await;
    // Whichever socket the kernel has for them, old and new ones are served.
    clients.extend((0..20).map(|_| client()));
    clients.iter().for_each(|client| drop(ask(client)));
    let old = UdpSocket::bind("127.0.0.1:0").expect("loopback has sockets");
    old.connect(("127.0.0.1", port)).expect("it is there");
    ask(&old);
}
