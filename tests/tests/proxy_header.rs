//! PROXY headers: balancers from trusted networks say who the client is, and nobody else.

use std::process::Command;

use tidegate_tests::answer::Answer;
use tidegate_tests::gateway::Gateway;
use tidegate_tests::upstream::Upstream;
use tidegate_tests::wire::Wire;

fn configuration(upstream: &Upstream) -> String {
    format!(
        r#"admin = {{ address = "127.0.0.1:0" }}
threads = 1

[[listener]]
name = "required"
address = "127.0.0.1:0"
trusted = ["127.0.0.0/8"]
proxy_protocol = "required"
timeouts = {{ handshake = "300ms" }}

[[listener]]
name = "optional"
address = "127.0.0.1:0"
trusted = ["127.0.0.0/8"]
proxy_protocol = "optional"

[[listener]]
name = "untrusted"
address = "127.0.0.1:0"
trusted = ["10.0.0.0/8"]
proxy_protocol = "required"

[cluster.up]
endpoints = [{{ address = "{}" }}]

[[route]]
name = "all"
cluster = "up"
"#,
        upstream.address
    )
}

const GET: &str = "GET / HTTP/1.1\r\nhost: a.test\r\n";

/// Who the upstream was told asks; none when the connection was closed without an answer.
async fn told(gateway: &Gateway, listener: &str, bytes: &[u8]) -> Option<String> {
    let mut wire = Wire::connect(gateway.listener(listener)).await.ok()?;
    wire.send(bytes).await.ok()?;
    let answer: Answer = wire.answer().await.ok()?;
    let told = answer.expect(200).json();
    let hops = &told["headers"]["x-forwarded-for"];
    Some(hops.as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn balancers_of_trusted_networks_name_the_client() {
    let upstream = Upstream::start("up").await;
    let gateway = Gateway::with(&configuration(&upstream)).await;
    let with = |header: &str| format!("{header}{GET}\r\n").into_bytes();
    let first = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c\x01\x02\x03\x04\x7f\0\0\x01\x10\0\x01\xbb";
    let second = [&first[..], GET.as_bytes(), b"\r\n"].concat();
    for listener in ["required", "optional"] {
        let v1 = with("PROXY TCP4 1.2.3.4 127.0.0.1 4096 443\r\n");
        assert_eq!(
            told(&gateway, listener, &v1).await.as_deref(),
            Some("1.2.3.4")
        );
        assert_eq!(
            told(&gateway, listener, &second).await.as_deref(),
            Some("1.2.3.4")
        );
    }
    let bare = with("");
    assert_eq!(
        told(&gateway, "optional", &bare).await.as_deref(),
        Some("127.0.0.1")
    );
    assert_eq!(told(&gateway, "required", &bare).await, None);
    let v1 = with("PROXY TCP4 1.2.3.4 127.0.0.1 4096 443\r\n");
    assert_eq!(told(&gateway, "untrusted", &v1).await, None);
    // The client that the balancer names is not trusted itself.
    let lie = format!("PROXY TCP4 1.2.3.4 127.0.0.1 1 2\r\n{GET}x-forwarded-for: 6.6.6.6\r\n\r\n");
    let hops = told(&gateway, "required", lie.as_bytes()).await;
    assert_eq!(hops.as_deref(), Some("1.2.3.4"));
}

#[tokio::test]
async fn a_header_that_is_wrong_or_never_ends_is_counted_and_closed() {
    let upstream = Upstream::start("up").await;
    let gateway = Gateway::with(&configuration(&upstream)).await;
    for bytes in [
        &b"PROXY TCP4 1.2.3.4 nonsense\r\n"[..],
        b"PROXY TCP4 1.2",
        b"\r\n\r\n\0\r\nQUIT\n\x21",
    ] {
        assert_eq!(told(&gateway, "required", bytes).await, None);
    }
    let wrong = r#"tidegate_gateway_refused_total{listener="required",reason="proxy_header"}"#;
    assert_eq!(gateway.admin.metric(wrong).await, Some(3.0));
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn curl_is_understood() {
    let upstream = Upstream::start("up").await;
    let gateway = Gateway::with(&configuration(&upstream)).await;
    let url = format!("http://{}/", gateway.listener("required"));
    let curl = tokio::task::spawn_blocking(move || {
        let args = ["-sS", "--fail", "--haproxy-protocol", &url];
        Command::new("curl").args(args).status().expect("curl runs")
    });
    assert!(curl.await.expect("it ends").success());
    assert_eq!(upstream.count(), 1);
}
