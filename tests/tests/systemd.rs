//! What systemd does to a gateway: sockets that it passes, and what it wants to be told.

use std::fs;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;
use tidegate_tests::eventually::SOON;
use tidegate_tests::gateway::Gateway;
use tidegate_tests::process::{Process, send};
use tidegate_tests::succession::{command, run};
use tidegate_tests::upstream::Upstream;
use tidegate_tests::wire::{Wire, ask};

const REQUEST: &str = "GET / HTTP/1.1\r\nhost: a.test\r\n\r\n";
const HTTP: &str = r#"name = "http", address = "127.0.0.1:0""#;

/// Passes standard input on as systemd passes a socket.
const ACTIVATE: &str =
    "exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=web exec \"$@\"";

fn configuration(upstream: &Upstream, listener: &str) -> String {
    format!(
        r#"admin = {{ address = "127.0.0.1:0" }}
threads = 2
handover = {{ socket = "door.sock" }}
listener = [{{ {listener} }}]
cluster.up.endpoints = [{{ address = "{}" }}]
route = [{{ name = "all", cluster = "up" }}]
"#,
        upstream.address
    )
}

#[tokio::test]
async fn sockets_from_systemd_are_taken() {
    let upstream = Upstream::start("up").await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.toml");
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    // It waits in the queue before there is a process.
    let mut early = Wire::connect(address).await.unwrap();
    early.send(REQUEST).await.unwrap();
    for (name, configured) in [
        ("web", "127.0.0.1:0".to_owned()),
        ("other", address.to_string()),
    ] {
        let listener = format!("name = \"{name}\", address = \"{configured}\"");
        fs::write(&file, configuration(&upstream, &listener)).unwrap();
        let given = Stdio::from(OwnedFd::from(socket.try_clone().unwrap()));
        let args = ["gateway".into(), "-c".into(), file.clone().into()];
        let mut gateway = Gateway::running(Process::through(ACTIVATE, given, &args)).await;
        assert_eq!(gateway.listener(name), address);
        ask(address, REQUEST).await.expect(200);
        if name == "web" {
            early.answer().await.unwrap().expect(200);
        }
        gateway.process.signal(Signal::TERM);
        gateway.process.ended(SOON).await;
    }
    fs::write(&file, configuration(&upstream, HTTP)).unwrap();
    let given = Stdio::from(OwnedFd::from(socket));
    let gateway = Process::through(
        ACTIVATE,
        given,
        &["gateway".into(), "-c".into(), file.into()],
    );
    let gateway = Gateway::running(gateway).await;
    let told = gateway.process.stderr();
    assert!(told.contains("that no listener asks for"), "{told}");
}

#[tokio::test]
async fn systemd_learns_which_process_is_the_service() {
    let upstream = Upstream::start("up").await;
    let folder = tempfile::tempdir().unwrap();
    let (file, socket) = (
        folder.path().join("gateway.toml"),
        folder.path().join("notify"),
    );
    fs::write(&file, configuration(&upstream, HTTP)).unwrap();
    let systemd = UnixDatagram::bind(&socket).unwrap();
    systemd
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    let told = || {
        let mut buffer = [0; 256];
        let count = systemd.recv(&mut buffer).expect("it says something");
        String::from_utf8_lossy(&buffer[..count]).trim().to_owned()
    };
    let environment = [("NOTIFY_SOCKET", socket.to_string_lossy().into_owned())];
    let args = ["gateway".into(), "-c".into(), file.clone().into()];
    let mut gateway = Gateway::running(Process::start(&args, &environment)).await;
    assert_eq!(told(), "READY=1");

    let mut handover = command(&file);
    handover.env("NOTIFY_SOCKET", &socket);
    let outcome = run(handover, folder.path(), &[]).await;
    outcome.assert_succeeded();
    let words: Vec<&str> = outcome.stdout.split_whitespace().collect();
    let successor = words.iter().skip_while(|word| **word != "process").nth(1);
    let successor: u32 = successor.and_then(|word| word.parse().ok()).unwrap();
    let mut both = [told(), told()];
    both.sort_unstable();
    assert_eq!(both, [format!("MAINPID={successor}"), "READY=1".into()]);
    // The old process is not the service any more: its end is nobody's business.
    gateway.process.ended(SOON).await;
    send(successor, Signal::TERM);
    assert_eq!(told(), "STOPPING=1");
}
