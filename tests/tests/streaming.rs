//! WebSocket and server-sent events, with servers and clients that we did not write.

use std::fs;
use std::process::Stdio;
use std::time::{SystemTime, UNIX_EPOCH};

use tempfile::TempDir;
use tidegate_tests::gateway::Gateway;
use tidegate_tests::script::{self, Script};
use tidegate_tests::tokens::write_certificate;
use tokio::io::{AsyncBufReadExt, BufReader};

/// A gateway in front of a server, with and without TLS.
async fn gateway(server: &Script) -> (Gateway, TempDir) {
    let folder = TempDir::new().expect("temporary folders can be made");
    let file = |name: &str| folder.path().join(name);
    write_certificate(&file("cert.pem"), &file("key.pem"));
    let configuration = format!(
        r#"admin = {{ address = "127.0.0.1:0" }}
[[listener]]
name = "http"
address = "127.0.0.1:0"
h2c = true
[[listener]]
name = "https"
address = "127.0.0.1:0"
tls = {{ certificate = "cert.pem", key = "key.pem" }}
[cluster.up]
endpoints = [{{ address = "{}" }}]
[[route]]
name = "all"
cluster = "up"
"#,
        server.address
    );
    fs::write(file("gateway.toml"), configuration).expect("the folder is new");
    (Gateway::of(&file("gateway.toml")).await, folder)
}

#[tokio::test]
async fn web_sockets_go_through() {
    let server = Script::serve("websocket.py", &["server"]);
    let (gateway, _folder) = gateway(&server).await;
    let url = format!("ws://{}/socket", gateway.listener("http"));
    script::run("websocket.py", &["client", &url]).await;
}

#[tokio::test]
async fn web_sockets_go_through_tls() {
    let server = Script::serve("websocket.py", &["server"]);
    let (gateway, folder) = gateway(&server).await;
    let url = format!(
        "wss://localhost:{}/socket",
        gateway.listener("https").port()
    );
    let certificate = folder.path().join("cert.pem");
    let certificate = certificate.to_str().unwrap();
    script::run("websocket.py", &["client", &url, certificate]).await;
}

#[tokio::test]
async fn each_event_arrives_when_it_is_sent() {
    let server = Script::serve("events.py", &[]);
    let (gateway, _folder) = gateway(&server).await;
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        let url = format!("http://{}/events", gateway.listener("http"));
        let mut curl = tokio::process::Command::new("curl")
            .args(["-sN", "--noproxy", "*", version, &url])
            .stdout(Stdio::piped())
            .spawn()
            .expect("curl is installed: make setup-tests");
        let mut lines = BufReader::new(curl.stdout.take().unwrap()).lines();
        let mut delays = Vec::new();
        while let Some(line) = lines.next_line().await.unwrap() {
            if let Some(sent) = line.strip_prefix("data: ") {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
                delays.push(now.as_secs_f64() - sent.parse::<f64>().unwrap());
            }
        }
        assert_eq!(delays.len(), 5, "{version}");
        // Less than the pause between two of them: none waited for the next.
        assert!(
            delays.iter().all(|delay| *delay < 0.25),
            "{version}: {delays:?}"
        );
        assert!(curl.wait().await.unwrap().success());
    }
}
