//! Clients that take nothing, over TLS and on a WebSocket: nothing of them stays, in the kernel neither.

use std::fs;
use std::net::SocketAddr;
use std::process::Stdio;

use tidegate_tests::eventually::{SOON, eventually};
use tidegate_tests::gateway::Gateway;
use tidegate_tests::http1::recorder::Recorder;
use tidegate_tests::tokens::write_certificate;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

async fn gateway(upstream: SocketAddr, tls: &str) -> Gateway {
    Gateway::before(upstream, &format!("timeouts = {{ write = \"1s\" }}\n{tls}")).await
}

/// Sockets at this port whose process has let go of them, and which still hold bytes.
fn left(address: SocketAddr) -> usize {
    const FIN_WAIT_1: &str = "04";
    let table = fs::read_to_string("/proc/net/tcp").expect("Linux has it");
    let port = format!(":{:04X}", address.port());
    let lines = table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    lines
        .filter(|words| words.len() > 4 && words[1].ends_with(&port) && words[3] == FIN_WAIT_1)
        .count()
}

async fn is_ended(gateway: &Gateway) {
    let series = "tidegate_gateway_refused_total{listener=\"http\",reason=\"slow_reader\"}";
    eventually("it is ended", SOON, async || {
        (gateway.admin.metric(series).await == Some(1.0)).then_some(())
    })
    .await;
    let open = "tidegate_gateway_connections{listener=\"http\"}";
    eventually("its connection is gone", SOON, async || {
        (gateway.admin.metric(open).await == Some(0.0)).then_some(())
    })
    .await;
    assert_eq!(left(gateway.listener("http")), 0);
}

#[tokio::test]
async fn over_tls() {
    let recorder = Recorder::start().await;
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).display().to_string();
    write_certificate(file("cert.pem").as_ref(), file("key.pem").as_ref());
    let tls = format!(
        "tls = {{ certificate = \"{}\", key = \"{}\" }}",
        file("cert.pem"),
        file("key.pem")
    );
    let gateway = gateway(recorder.address, &tls).await;
    let address = gateway.listener("http").to_string();
    let mut client = Command::new("openssl")
        .args([
            "s_client", "-quiet", "-alpn", "http/1.1", "-connect", &address,
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped()) // which nobody reads
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("openssl is installed: make setup-tests");
    let input = client.stdin.as_mut().unwrap();
    let request = b"GET /large/64 HTTP/1.1\r\nHost: a.test\r\n\r\n";
    input.write_all(request).await.unwrap();
    is_ended(&gateway).await;
}

/// An upstream that becomes a tunnel, and sends without end.
async fn talker() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("it listens");
        let _ = stream.read(&mut [0; 4096]).await;
        let head = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
        let mut sent = stream.write_all(head).await;
        while sent.is_ok() {
            sent = stream.write_all(&[0; 1 << 16]).await;
        }
    });
    address
}

#[tokio::test]
async fn on_a_websocket() {
    let gateway = gateway(talker().await, "").await;
    let mut client = TcpStream::connect(gateway.listener("http")).await.unwrap();
    let request =
        b"GET /ws HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
          Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
    client.write_all(request).await.unwrap();
    assert!(client.read(&mut [0; 12]).await.unwrap() > 0);
    is_ended(&gateway).await;
}
