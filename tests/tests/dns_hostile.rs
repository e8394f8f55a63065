//! Clients of DNS over TLS and HTTP that are slow, greedy or mad.

use std::time::{Duration, Instant};

use tidegate_tests::dns_site::{Site, ended, framed, said};
use tidegate_tests::eventually::{SOON, eventually};
use tidegate_tests::h2_raw::{RawH2, frame, kind, request};
use tidegate_tests::question::query;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

const LIMITS: &str = "tcp = { idle = \"1s\", progress = \"1s\", connections_per_client = 100 }\n";
/// A query for `www.example.test`, as RFC 8484 writes it.
const WWW: &str = "AAABAAABAAAAAAAAA3d3dwdleGFtcGxlBHRlc3QAAAEAAQ";

#[tokio::test(flavor = "multi_thread")]
async fn slow_and_garbled_clients_are_ended_and_others_are_answered() {
    let site = Site::start(LIMITS, "handshake = \"1s\"").await;
    let patience = Duration::from_millis(3500);
    // Nothing at all; half of a handshake; half of a request, and a letter of it now and then.
    let half = [22, 3, 1, 0, 200, 1, 0];
    let request = b"POST /q HTTP/1.1\r\nhost: a\r\ncontent-type: application/dns-message\r\ncontent-length: 30\r\n\r\nabc";
    let mut slow = JoinSet::new();
    for (address, sent) in [
        (site.dot, &[][..]),
        (site.dot, &half),
        (site.doh, &[]),
        (site.doh, &half),
        (site.http, &[]),
        (site.http, b"PRI * HTTP/2.0\r\n"),
        (site.http, b"GET /q HTTP/1.1\r\n"),
        (site.http, request),
    ] {
        let sent = sent.to_vec();
        slow.spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(&sent).await.unwrap();
            (ended(&mut stream).await, sent)
        });
    }
    while let Some(one) = slow.join_next().await {
        let (took, sent) = one.unwrap();
        let sent = String::from_utf8_lossy(&sent);
        assert!(took < patience, "{took:?} for {sent:?}");
    }
    let stream = TcpStream::connect(site.http).await.unwrap();
    let (mut reading, mut writing) = stream.into_split();
    let dribble = tokio::spawn(async move {
        for octet in b"GET /q HTTP/1.1\r\na: ".iter().chain([b'a'; 1000].iter()) {
            if writing.write_all(&[*octet]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    let began = Instant::now();
    let _ = tokio::time::timeout(SOON, reading.read_to_end(&mut Vec::new())).await;
    assert!(began.elapsed() < patience, "{:?}", began.elapsed());
    dribble.abort();
    let slow = "tidegate_dns_tls_handshakes_total{listener=\"dot\",outcome=\"slow_handshake\"}";
    assert_eq!(site.metric(slow).await, 2.0);
    assert_eq!(
        said("kdig", site.dot, &["+tls", "+short", "www.example.test"]),
        "192.0.2.1\n"
    );
    eventually("no connection is left", SOON, async || {
        let mut open = 0.0;
        for transport in ["tls", "https"] {
            open += site
                .metric(&format!(
                    "tidegate_dns_connections{{transport=\"{transport}\"}}"
                ))
                .await;
        }
        (open == 0.0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_tls_is_refused_and_counted() {
    let site = Site::start(LIMITS, "").await;
    // What is no TLS is told so by an alert, and counted.
    for garbage in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0xFF; 300],
        &framed(&query(1, "www.example.test", "A")),
    ] {
        let mut stream = TcpStream::connect(site.dot).await.unwrap();
        stream.write_all(garbage).await.unwrap();
        let took = ended(&mut stream).await;
        assert!(took < Duration::from_secs(2), "{took:?}");
    }
    let mut counted = 0.0;
    for outcome in ["not_tls", "malformed"] {
        let metric =
            format!("tidegate_dns_tls_handshakes_total{{listener=\"dot\",outcome=\"{outcome}\"}}");
        counted += site.metric(&metric).await;
    }
    assert_eq!(counted, 3.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_has_limits() {
    let site = Site::start(LIMITS, "").await;
    let path = format!("/q?dns={WWW}");
    // Rapid reset (CVE-2023-44487): requests that are taken back at once.
    let mut client = RawH2::connect(site.http, &[]).await.unwrap();
    let (_, end) = client
        .flood(100_000, SOON, |at| {
            let stream = at * 2 + 1;
            let reset = frame(kind::RST_STREAM, 0, stream, &8_u32.to_be_bytes());
            [
                request(
                    stream,
                    "POST",
                    "/q",
                    &[("content-type", "application/dns-message")],
                    false,
                ),
                reset,
            ]
            .concat()
        })
        .await;
    assert!(end.code.is_some_and(|code| code != 0), "{end:?}");
    // More at a time than there may be: the last is refused, the connection goes on.
    let mut client = RawH2::connect(site.http, &[]).await.unwrap();
    let kinds = [("content-type", "application/dns-message")];
    let begun: Vec<u8> = (0..11)
        .flat_map(|at| request(at * 2 + 1, "POST", "/q", &kinds, false))
        .collect();
    client.send(&begun).await.unwrap();
    let refused = client.verdict(21).await;
    assert_eq!(
        (refused.kind, refused.payload.last()),
        (kind::RST_STREAM, Some(&7)),
        "{refused:?}"
    );
    // A body that does not come is given up, and so is a client that takes nothing and then says nothing.
    let late = client.verdict(1).await;
    assert_eq!(late.kind, kind::HEADERS, "408: {late:?}");
    let mut shut = RawH2::connect(site.http, &[(4, 0)]).await.unwrap();
    shut.send(&request(1, "GET", &path, &[], true))
        .await
        .unwrap();
    shut.end(SOON).await;
    // A head that has no end.
    let mut endless = RawH2::connect(site.http, &[]).await.unwrap();
    endless
        .send(&frame(kind::HEADERS, 1, 1, &[0x82]))
        .await
        .unwrap();
    let piece = [&[0x00, 1, b'a', 0x7F, 0x81, 0x7E][..], &[b'b'; 16_000]].concat();
    endless
        .flood(100_000, SOON, |_| frame(kind::CONTINUATION, 0, 1, &piece))
        .await;
    let mut sound = RawH2::connect(site.http, &[]).await.unwrap();
    sound
        .send(&request(1, "GET", &path, &[], true))
        .await
        .unwrap();
    assert_eq!(sound.verdict(1).await.kind, kind::HEADERS);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_http2_connection_ends_when_its_time_has_passed() {
    let site = Site::start("tcp = { idle = \"1s\", progress = \"3s\" }\n", "").await;
    let path = format!("/q?dns={WWW}");
    let mut idle = RawH2::connect(site.http, &[]).await.unwrap();
    idle.send(&request(1, "GET", &path, &[], true))
        .await
        .unwrap();
    assert_eq!(idle.verdict(1).await.kind, kind::HEADERS);
    let began = Instant::now();
    let told = idle.end(SOON).await;
    assert_eq!(told.code, Some(0), "an orderly end: {told:?}");
    let took = began.elapsed();
    let expected = Duration::from_millis(900)..Duration::from_millis(1900);
    assert!(expected.contains(&took), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn handshakes_that_nobody_goes_on_with_shut_nobody_out() {
    let site = Site::start(
        "tcp = { connections = 20, connections_per_client = 100 }\n",
        "",
    )
    .await;
    let refused = async |limit: &str| {
        let metric = format!("tidegate_dns_refused_connections_total{{limit=\"{limit}\"}}");
        site.metric(&metric).await
    };
    let mut silent = Vec::new();
    for _ in 0..40 {
        silent.push(TcpStream::connect(site.dot).await.unwrap());
    }
    eventually("the oldest made room", SOON, async || {
        let made = refused("handshake").await + refused("connections").await;
        (made >= 30.0).then_some(())
    })
    .await;
    assert_eq!(refused("handshake").await, 30.0);
    // Those who go through with it are answered, over TLS and TCP, and the youngest of the others still may.
    for args in [&["+tls"][..], &["+tcp"]] {
        let address = match args {
            ["+tls"] => site.dot,
            _ => site.server.address,
        };
        let args = [args, &["+short", "+retry=0", "www.example.test"]].concat();
        assert_eq!(said("kdig", address, &args), "192.0.2.1\n", "{args:?}");
    }
    let youngest = silent.pop().unwrap();
    let still = tokio::time::timeout(Duration::from_millis(200), youngest.readable()).await;
    assert!(still.is_err(), "it was ended");
    let took = ended(&mut silent[0]).await;
    assert!(took < Duration::from_millis(200), "{took:?}");
}
