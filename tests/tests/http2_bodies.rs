//! Bodies of HTTP/2 requests: how long they may be, and by when they must come.

use std::process::Stdio;
use std::time::{Duration, Instant};

use tidegate_tests::eventually::{SOON, eventually};
use tidegate_tests::gateway::Gateway;
use tidegate_tests::h2_raw::{RawH2, frame, kind, request};
use tidegate_tests::upstream::Upstream;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// A gateway that accepts HTTP/2 without TLS, with more keys of its listener.
async fn gateway(upstream: &Upstream, keys: &str) -> Gateway {
    Gateway::before(upstream.address, &format!("h2c = true\n{keys}")).await
}

async fn refused(gateway: &Gateway, reason: &str, times: f64) {
    let series = format!("tidegate_gateway_refused_total{{listener=\"http\",reason=\"{reason}\"}}");
    eventually(&series, SOON, async || {
        (gateway.admin.metric(&series).await == Some(times)).then_some(())
    })
    .await;
}

/// A body whose length is announced.
const KNOWN: [&str; 2] = ["--data-binary", "@-"];

/// A body of which nobody knows where it ends.
const UNKNOWN: [&str; 4] = ["-T", "-", "-X", "POST"];

/// What curl says of a request with a body of so many bytes: the status and the answer.
async fn curl(gateway: &Gateway, bytes: usize, body: &[&str]) -> (String, String) {
    let url = format!("http://{}/", gateway.listener("http"));
    let mut curl = Command::new("curl")
        .args(["-sS", "--http2-prior-knowledge", "--noproxy", "*"])
        .args(["-w", "\n%{http_code}", &url])
        .args(body)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("curl is installed: make setup-tests");
    let mut input = curl.stdin.take().expect("it is piped");
    // It may be refused before all of it is written.
    let _ = input.write_all(&vec![b'a'; bytes]).await;
    drop(input);
    let output = curl.wait_with_output().await.expect("it ends");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (answer, status) = text.rsplit_once('\n').expect("it writes a status");
    (status.to_owned(), answer.to_owned())
}

#[tokio::test]
async fn a_body_may_be_as_long_as_the_limit_says() {
    let upstream = Upstream::start("up").await;
    let gateway = gateway(&upstream, "body = \"64KiB\"").await;
    let (status, _) = curl(&gateway, 64 << 10, &KNOWN).await;
    assert_eq!(status, "200");
    let (status, answer) = curl(&gateway, (64 << 10) + 1, &KNOWN).await;
    assert_eq!(status, "413", "{answer}");
    assert!(answer.contains("body-too-large"), "{answer}");
    refused(&gateway, "body_too_long", 1.0).await;
    assert_eq!(upstream.count(), 1, "it was announced, and never forwarded");
    let (status, answer) = curl(&gateway, (64 << 10) + 1, &UNKNOWN).await;
    assert_eq!(status, "413", "{answer}");
    refused(&gateway, "body_too_long", 2.0).await;
}

#[tokio::test]
async fn a_body_that_does_not_come_ends_the_request_alone() {
    let upstream = Upstream::start("up").await;
    for (keys, reason, least) in [
        ("timeouts = { body_read = \"500ms\" }", "slow_body", 500),
        (
            "timeouts = { body = \"700ms\", body_read = \"500ms\", body_rate = \"0B\" }",
            "slow_body",
            700,
        ),
        ("timeouts = { request = \"600ms\" }", "slow_exchange", 600),
    ] {
        let gateway = gateway(&upstream, keys).await;
        let mut client = RawH2::connect(gateway.listener("http"), &[]).await.unwrap();
        let began = Instant::now();
        client
            .send(&request(1, "POST", "/", &[], false))
            .await
            .unwrap();
        for _ in 0..3 {
            client
                .send(&frame(kind::DATA, 0, 1, b"a little"))
                .await
                .unwrap();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let end = tokio::time::timeout(SOON, client.verdict(1)).await;
        end.expect("it is ended");
        let took = began.elapsed();
        assert!(took >= Duration::from_millis(least), "{keys}: {took:?}");
        assert!(
            took < Duration::from_millis(least + 1500),
            "{keys}: {took:?}"
        );
        refused(&gateway, reason, 1.0).await;
        client
            .send(&request(3, "GET", "/", &[], true))
            .await
            .unwrap();
        let other = tokio::time::timeout(SOON, client.verdict(3)).await;
        assert_eq!(other.expect("others go on").payload[0], 0x88, "{keys}");
    }
}
