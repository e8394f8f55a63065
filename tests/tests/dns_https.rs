//! DNS over HTTPS: requests, and the clients that proxies name.

use std::fs;
use std::net::SocketAddr;

use tidegate_tests::dns_site::{Site, ended, framed};
use tidegate_tests::question::{query, read};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Of RFC 8484, 4.1.1, for a name of ours.
const WWW: &str = "AAABAAABAAAAAAAAA3d3dwdleGFtcGxlBHRlc3QAAAEAAQ";
/// A name that is not there.
const NOPE: &str = "AAABAAABAAAAAAAABG5vcGUHZXhhbXBsZQR0ZXN0AAABAAE";
/// A name of nobody's.
const ELSEWHERE: &str = "AAABAAABAAAAAAAABG5vcGUEdGVzdAAAAQAB";

/// A path, more arguments of curl, the status, and a part of what is said.
fn requests() -> [(String, String, u16, &'static str); 13] {
    let dns = "-H content-type:application/dns-message";
    let get = |query: &str| format!("/dns-query?dns={query}");
    [
        (get(WWW), String::new(), 200, "cache-control: max-age=77\r"),
        (get(NOPE), String::new(), 200, "cache-control: max-age=40\r"),
        (
            get(ELSEWHERE),
            String::new(),
            200,
            "cache-control: no-store\r",
        ),
        (
            get(WWW),
            "--head".into(),
            200,
            "content-type: application/dns-message\r",
        ),
        (get("AA+A"), String::new(), 400, "base64url"),
        (get(""), String::new(), 400, "not a DNS query"),
        ("/dns-query".into(), String::new(), 400, "`dns`"),
        ("/".into(), String::new(), 404, "not sent here"),
        (
            "/dns-query".into(),
            "-X PUT".into(),
            405,
            "allow: GET, HEAD, POST\r",
        ),
        (
            "/dns-query".into(),
            format!("{dns} --data-binary @query"),
            200,
            "max-age=77",
        ),
        (
            "/dns-query".into(),
            format!("{dns} --data-binary @response"),
            400,
            "not a DNS query",
        ),
        (
            "/dns-query".into(),
            format!("{dns} --data-binary @large"),
            413,
            "4096 octets",
        ),
        (
            "/dns-query".into(),
            "--data-binary @query".into(),
            415,
            "application/dns-message",
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_judged_as_rfc_8484_says() {
    let site = Site::start("", "").await;
    fs::write(
        site.authority.file("query"),
        query(0, "www.example.test", "A"),
    )
    .unwrap();
    fs::write(
        site.authority.file("response"),
        [0, 0, 0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0],
    )
    .unwrap();
    fs::write(site.authority.file("large"), vec![0; 4097]).unwrap();
    for version in ["--http1.1", "--http2"] {
        for (path, more, status, holds) in requests() {
            let said = site.https(&path, &format!("{version} {more}")).await;
            let line = said.text.lines().next().unwrap_or_default().to_owned();
            let found = line
                .split(' ')
                .nth(1)
                .and_then(|status| status.parse().ok());
            assert_eq!(
                found,
                Some(status),
                "{version} {path} {more}:\n{}",
                said.text
            );
            said.expect(holds);
        }
    }
    let metric = |code: u16| format!("tidegate_dns_http_responses_total{{code=\"{code}\"}}");
    for (code, count) in [
        (200, 10.0),
        (400, 8.0),
        (404, 2.0),
        (405, 2.0),
        (413, 2.0),
        (415, 2.0),
    ] {
        assert_eq!(site.metric(&metric(code)).await, count, "{code}");
    }
}

/// A policy, with listeners for the clients of proxies.
const TWO_SITES: &str = r#"
[[site]]
name = "fra"
[[site]]
name = "nyc"
[geo]
default = "fra"
networks = { "198.51.100.0/24" = "nyc" }
[policy.api]
private = { endpoints = [{ site = "fra", address = "192.0.2.1" }, { site = "nyc", address = "192.0.2.2" }] }
[[listener]]
name = "proxied"
address = "127.0.0.1:0"
trusted = ["127.0.0.0/8"]
proxy_protocol = "required"
[[listener]]
name = "open"
address = "127.0.0.1:0"
http = {}
[[zone]]
name = "geo.test"
ns = ["ns1.example.test."]
[[zone.record]]
name = "@"
type = "A"
policy = "api"
"#;

/// The address that a client is told by a POST over HTTP/1.1, with more lines of its head.
async fn told(address: SocketAddr, path: &str, forwarded: &str) -> String {
    let packet = query(0, "geo.test", "A");
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: a\r\ncontent-type: application/dns-message\r\nconnection: close\r\n{forwarded}content-length: {}\r\n\r\n",
        packet.len()
    );
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    stream
        .write_all(&[head.as_bytes(), &packet].concat())
        .await
        .expect("it reads");
    let mut said = Vec::new();
    stream.read_to_end(&mut said).await.expect("it answers");
    let end = said
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .expect("a head has an end")
        + 4;
    let head = String::from_utf8_lossy(&said[..end]).into_owned();
    assert!(head.contains("cache-control: private, max-age="), "{head}");
    read(&said[end..]).sections[0][0]
        .rsplit(' ')
        .next()
        .unwrap_or_default()
        .to_owned()
}

/// The next message of a stream.
async fn message(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let length = stream.read_u16().await?;
    let mut packet = vec![0; usize::from(length)];
    stream.read_exact(&mut packet).await?;
    Ok(packet)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_that_a_trusted_proxy_names_is_answered() {
    let site = Site::start(TWO_SITES, "").await;
    let packet = query(0, "geo.test", "A");
    let (fra, nyc) = ("192.0.2.1", "192.0.2.2");
    for (forwarded, expected) in [
        ("", fra),
        ("x-forwarded-for: 198.51.100.7\r\n", nyc),
        ("x-forwarded-for: 198.51.100.7, 203.0.113.9\r\n", fra),
        (
            "x-forwarded-for: 203.0.113.9, 198.51.100.7, 127.0.0.1\r\n",
            nyc,
        ),
        (
            "x-forwarded-for: 198.51.100.7\r\nx-forwarded-for: 203.0.113.9\r\n",
            fra,
        ),
        ("x-forwarded-for: 198.51.100.7, nonsense\r\n", fra),
    ] {
        assert_eq!(
            told(site.http, "/q", forwarded).await,
            expected,
            "{forwarded}"
        );
    }
    let open = site.server.listener("open");
    let line = "x-forwarded-for: 198.51.100.7\r\n";
    assert_eq!(
        told(open, "/dns-query", line).await,
        fra,
        "nobody is believed"
    );
    // The same over TCP, by the PROXY header.
    let proxied = site.server.listener("proxied");
    let mut stream = TcpStream::connect(proxied).await.unwrap();
    let line = b"PROXY TCP4 198.51.100.7 192.0.2.1 1234 53\r\n".to_vec();
    stream
        .write_all(&[line, framed(&packet)].concat())
        .await
        .unwrap();
    let answer = read(&message(&mut stream).await.unwrap());
    assert!(answer.sections[0][0].ends_with(nyc), "{answer:?}");
    let mut stream = TcpStream::connect(proxied).await.unwrap();
    stream.write_all(&framed(&packet)).await.unwrap();
    ended(&mut stream).await;
    let refused = "tidegate_dns_refused_connections_total{limit=\"proxy_header\"}";
    assert_eq!(site.metric(refused).await, 1.0);
}
