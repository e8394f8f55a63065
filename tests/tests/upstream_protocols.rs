//! How the gateway speaks with upstreams: HTTP/2, and the PROXY protocol, with a real nginx.

use std::fs;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;
use tidegate_tests::eventually::{SOON, eventually};
use tidegate_tests::gateway::Gateway;
use tidegate_tests::nginx::Nginx;
use tidegate_tests::tokens::write_certificate;
use tidegate_tests::wire::Wire;

const REQUEST: &str = "GET / HTTP/1.1\r\nhost: a.test\r\n\r\n";

fn certificate(folder: &Path) {
    write_certificate(&folder.join("cert.pem"), &folder.join("key.pem"));
}

const TLS: &str = "ssl_certificate FOLDER/cert.pem; ssl_certificate_key FOLDER/key.pem;";

/// An nginx that answers what this says, and a gateway whose cluster has these keys.
async fn edge(listen: &str, answer: &str, keys: &str) -> (Nginx, Gateway, TempDir) {
    let folder = TempDir::new().expect("temporary folders can be made");
    certificate(folder.path());
    let tls = TLS.replace("FOLDER", &folder.path().display().to_string());
    let nginx = Nginx::start(
        &format!("server {{ listen {listen}; {tls} location / {{ return 200 \"{answer}\"; }} }}"),
        |_| {},
    )
    .await;
    let configuration = format!(
        r#"admin = {{ address = "127.0.0.1:0" }}
[[listener]]
name = "http"
address = "0.0.0.0:0"
[cluster.up]
endpoints = [{{ address = "{}" }}]
{keys}
[[route]]
name = "all"
cluster = "up"
"#,
        nginx.address
    );
    let file = folder.path().join("gateway.toml");
    fs::write(&file, configuration).expect("the folder is new");
    (nginx, Gateway::of(&file).await, folder)
}

/// Two requests of each of two clients; the answers of the first and of the second.
async fn two_clients(gateway: &Gateway) -> [[String; 2]; 2] {
    let address = gateway.listener("http");
    let mut clients = [
        Wire::connect(address).await.expect("the gateway accepts"),
        Wire::connect(address).await.expect("the gateway accepts"),
    ];
    let mut told = [const { [String::new(), String::new()] }; 2];
    for turn in 0..2 {
        for (client, told) in clients.iter_mut().zip(&mut told) {
            // An answer may be here before its connection is free for the next request.
            tokio::time::sleep(Duration::from_millis(10)).await;
            let answer = client
                .exchange(REQUEST)
                .await
                .expect("the gateway answers")
                .expect(200);
            told[turn] = answer.text();
        }
    }
    told
}

const ADDRESSES: &str = "$proxy_protocol_addr:$proxy_protocol_port \
                         $proxy_protocol_server_addr:$proxy_protocol_server_port \
                         $connection_requests";

async fn introduces_clients(listen: &str, keys: &str) {
    let check = "check = { path = \"/\", interval = \"50ms\" }";
    let (_nginx, gateway, _folder) = edge(listen, ADDRESSES, &format!("{keys}\n{check}")).await;
    let server = gateway.listener("http").port();
    let [first, second] = two_clients(&gateway).await;
    let who = |told: &str| told.split(' ').next().expect("it has words").to_owned();
    for told in [&first, &second] {
        assert!(told[0].starts_with("127.0.0.1:"), "{told:?}");
        assert!(
            told[0].ends_with(&format!(" 127.0.0.1:{server} 1")),
            "{told:?}"
        );
        assert!(
            told[1].ends_with(&format!(" 127.0.0.1:{server} 2")),
            "used again: {told:?}"
        );
        assert_eq!(who(&told[0]), who(&told[1]));
    }
    assert_ne!(who(&first[0]), who(&second[0]), "never for another client");
}

#[tokio::test]
async fn upstreams_learn_the_client_from_the_proxy_protocol() {
    for version in ["v1", "v2"] {
        let keys = format!("proxy_protocol = \"{version}\"");
        introduces_clients("ADDRESS proxy_protocol", &keys).await;
    }
}

#[tokio::test]
async fn upstreams_learn_the_client_before_the_tls_handshake() {
    let keys = "proxy_protocol = \"v2\"\ntls = { server_name = \"localhost\", ca = \"cert.pem\" }";
    introduces_clients("ADDRESS ssl proxy_protocol", keys).await;
}

const PROTOCOL: &str = "$server_protocol $connection $http_host";

#[tokio::test]
async fn upstreams_are_asked_in_http_2() {
    let tls = "tls = { server_name = \"localhost\", ca = \"cert.pem\" }\n";
    for (listen, keys, expected) in [
        (
            "ADDRESS http2",
            "protocol = \"http2\"".to_owned(),
            "HTTP/2.0",
        ),
        (
            "ADDRESS ssl http2",
            format!("{tls}protocol = \"http2\""),
            "HTTP/2.0",
        ),
        (
            "ADDRESS ssl http2",
            format!("{tls}protocol = \"auto\""),
            "HTTP/2.0",
        ),
        (
            "ADDRESS ssl",
            format!("{tls}protocol = \"auto\""),
            "HTTP/1.1",
        ),
        ("ADDRESS ssl http2", tls.to_owned(), "HTTP/1.1"),
        ("ADDRESS", String::new(), "HTTP/1.1"),
    ] {
        let check = "check = { path = \"/\", interval = \"50ms\" }";
        let (_nginx, gateway, _folder) = edge(listen, PROTOCOL, &format!("{keys}\n{check}")).await;
        let [first, second] = two_clients(&gateway).await;
        for told in first.iter().chain(&second) {
            assert!(told.starts_with(expected), "{listen}, {keys}: {told}");
            assert!(told.ends_with(" a.test"), "{told}");
        }
        let connection = |told: &str| told.split(' ').nth(1).unwrap().to_owned();
        eventually("clients share a connection", SOON, async || {
            let [first, second] = two_clients(&gateway).await;
            (connection(&first[0]) == connection(&second[1])).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn both_at_once() {
    let keys = "proxy_protocol = \"v2\"\nprotocol = \"http2\"";
    introduces_clients("ADDRESS http2 proxy_protocol", keys).await;
}

#[tokio::test]
async fn web_sockets_are_asked_for_in_http_1() {
    let tls = "tls = { server_name = \"localhost\", ca = \"cert.pem\" }\n";
    for (protocol, expected) in [("auto", "HTTP/1.1 websocket"), ("http2", "HTTP/2.0 ")] {
        let keys = format!("{tls}protocol = \"{protocol}\"");
        let answer = "$server_protocol $http_upgrade";
        let (_nginx, gateway, _folder) = edge("ADDRESS ssl http2", answer, &keys).await;
        let mut client = Wire::connect(gateway.listener("http")).await.unwrap();
        let request = "GET / HTTP/1.1\r\nhost: a.test\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        // A server that declines answers as usual, and the connection goes on.
        for _ in 0..2 {
            let answer = client.exchange(request).await.unwrap().expect(200);
            assert_eq!(answer.text(), expected, "{protocol}");
        }
    }
}
