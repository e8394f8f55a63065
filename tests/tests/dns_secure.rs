//! DNS over TLS and HTTPS, with clients of other makes and with hostile ones.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use tidegate_tests::authority::{Authority, Order};
use tidegate_tests::binary;
use tidegate_tests::eventually::{SOON, eventually};
use tidegate_tests::h2_raw::{RawH2, frame, kind, request};
use tidegate_tests::name_server::NameServer;
use tidegate_tests::openssl::{Said, run, s_client};
use tidegate_tests::question::{query, read};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

const ZONE: &str = r#"
[[zone]]
name = "example.test"
ns = ["ns1"]
soa = { serial = 1, negative = "40s" }

[[zone.record]]
name = "ns1"
type = "A"
values = ["192.0.2.53"]

[[zone.record]]
name = "www"
type = "A"
ttl = "77s"
values = ["192.0.2.1"]
"#;

/// A server with every transport, and an authority that its clients trust.
struct Site {
    authority: Authority,
    server: NameServer,
    dot: SocketAddr,
    doh: SocketAddr,
    http: SocketAddr,
}

impl Site {
    /// With more top-level keys, and more keys for TLS.
    async fn start(more: &str, tls: &str) -> Self {
        let authority = Authority::new("authority");
        authority.server("a", &["dns.test"]);
        authority.server("b", &["other.test"]);
        let folder = authority.folder().display();
        let tls = format!(
            "tls = {{ certificate = \"{folder}/a.pem\", key = \"{folder}/a.key\", {tls} }}"
        );
        let configuration = format!(
            r#"{more}
[[listener]]
name = "dot"
address = "127.0.0.1:0"
{tls}

[[listener]]
name = "doh"
address = "127.0.0.1:0"
{tls}
http = {{}}

[[listener]]
name = "http"
address = "127.0.0.1:0"
http = {{ path = "/q", streams = 10 }}
trusted = ["127.0.0.1"]
{ZONE}"#
        );
        let server = NameServer::start(&configuration, |_| {}).await;
        let [dot, doh, http] = ["dot", "doh", "http"].map(|name| server.listener(name));
        Self {
            authority,
            server,
            dot,
            doh,
            http,
        }
    }

    async fn metric(&self, metric: &str) -> f64 {
        self.server.admin.metric(metric).await.unwrap_or(0.0)
    }

    async fn curl(&self, args: &str) -> Said {
        run("curl", self.authority.folder(), args).await
    }

    /// Asks the HTTPS listener for a path, with more of curl's arguments; headers, then the body.
    async fn https(&self, path: &str, more: &str) -> Said {
        let port = self.doh.port();
        let args = format!(
            "-s -i --max-time 10 --cacert ca.pem --resolve dns.test:{port}:127.0.0.1 {more} https://dns.test:{port}{path}"
        );
        self.curl(&args).await
    }
}

/// What a client of DNS prints.
fn said(program: &str, server: SocketAddr, args: &[&str]) -> String {
    let output = Command::new(program)
        .arg(format!("@{}", server.ip()))
        .args(["-p", &server.port().to_string()])
        .args(args)
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}: make setup-tests"));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn framed(packet: &[u8]) -> Vec<u8> {
    [&(packet.len() as u16).to_be_bytes(), packet].concat()
}

/// The next message of a stream.
async fn message(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let length = stream.read_u16().await?;
    let mut packet = vec![0; usize::from(length)];
    stream.read_exact(&mut packet).await?;
    Ok(packet)
}

/// How long it takes until the other side ends a connection.
async fn ended(stream: &mut TcpStream) -> Duration {
    let began = Instant::now();
    let end = async { while matches!(stream.read(&mut [0; 4096]).await, Ok(1..)) {} };
    let ended = tokio::time::timeout(SOON, end).await;
    assert!(ended.is_ok(), "the connection does not end");
    began.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn dig_and_kdig_are_answered_over_tls_and_https() {
    let site = Site::start("", "").await;
    let ca = format!("+tls-ca={}", site.authority.file("ca.pem").display());
    let name = "+tls-hostname=dns.test";
    for (program, server, more) in [
        ("kdig", site.dot, &["+tls"][..]),
        ("kdig", site.doh, &["+https"]),
        ("kdig", site.doh, &["+https-get"]),
        ("dig", site.dot, &["+tls"]),
        ("dig", site.doh, &["+https"]),
        ("dig", site.doh, &["+https-get"]),
        ("dig", site.http, &["+http-plain=/q"]),
        ("dig", site.http, &["+http-plain-get=/q"]),
    ] {
        let trust = match (program, server == site.http) {
            (_, true) => vec![],
            ("kdig", _) => vec![ca.as_str(), "+tls-host=dns.test"],
            _ => vec![ca.as_str(), name],
        };
        let args = [more, &trust, &["+short", "www.example.test"]].concat();
        assert_eq!(
            said(program, server, &args),
            "192.0.2.1\n",
            "{program} {more:?}"
        );
    }
    for (transport, count) in [("tls", 2.0), ("https", 6.0)] {
        let metric = format!("tidegate_dns_queries_total{{transport=\"{transport}\",type=\"A\"}}");
        assert_eq!(site.metric(&metric).await, count, "{transport}");
    }
    let full = "tidegate_dns_tls_handshakes_total{listener=\"dot\",outcome=\"full\"}";
    assert_eq!(site.metric(full).await, 2.0);
    // RFC 8467, 4.1: a multiple of 468 octets, for clients that pad, where nobody else can read it.
    for (server, args, padded) in [
        (site.dot, &["+tls", "+padding"][..], true),
        (site.doh, &["+https", "+padding"], true),
        (site.dot, &["+tls", "+nopadding"], false),
        (site.server.address, &["+tcp", "+padding=100"], false),
    ] {
        let said = said("kdig", server, &[args, &["www.example.test"]].concat());
        assert_eq!(said.contains("Received 468 B"), padded, "{args:?}:\n{said}");
    }
    // RFC 7828: how long the connection is kept.
    let kept = said(
        "dig",
        site.server.address,
        &["+tcp", "+keepalive", "www.example.test"],
    );
    assert!(kept.contains("TCP KEEPALIVE: 10.0 secs"), "{kept}");
    let udp = said(
        "dig",
        site.server.address,
        &["+keepalive", "www.example.test"],
    );
    assert!(!udp.contains("KEEPALIVE"), "{udp}");
}

/// Of RFC 8484, 4.1.1, for a name of ours.
const WWW: &str = "AAABAAABAAAAAAAAA3d3dwdleGFtcGxlBHRlc3QAAAEAAQ";
/// A name that is not there.
const NOPE: &str = "AAABAAABAAAAAAAABG5vcGUHZXhhbXBsZQR0ZXN0AAABAAE";
/// A name of nobody's.
const ELSEWHERE: &str = "AAABAAABAAAAAAAABG5vcGUEdGVzdAAAAQAB";

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
    fs::write(site.authority.file("large"), vec![0; 70_000]).unwrap();
    let dns = "-H content-type:application/dns-message";
    let get = |query: &str| format!("/dns-query?dns={query}");
    for version in ["--http1.1", "--http2"] {
        for (path, more, status, holds) in [
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
                "65535",
            ),
            (
                "/dns-query".into(),
                "--data-binary @query".into(),
                415,
                "application/dns-message",
            ),
        ] {
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

#[tokio::test(flavor = "multi_thread")]
async fn the_client_that_a_trusted_proxy_names_is_answered() {
    let policies = r#"
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
    let site = Site::start(policies, "").await;
    let packet = query(0, "geo.test", "A");
    let ask = async |address: SocketAddr, path: &str, forwarded: &str| {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: a\r\ncontent-type: application/dns-message\r\nconnection: close\r\n{forwarded}content-length: {}\r\n\r\n",
            packet.len()
        );
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream
            .write_all(&[head.as_bytes(), &packet].concat())
            .await
            .unwrap();
        let mut said = Vec::new();
        stream.read_to_end(&mut said).await.unwrap();
        let end = said
            .windows(4)
            .position(|four| four == b"\r\n\r\n")
            .unwrap()
            + 4;
        let head = String::from_utf8_lossy(&said[..end]).into_owned();
        assert!(head.contains("cache-control: private, max-age="), "{head}");
        read(&said[end..]).sections[0][0]
            .rsplit(' ')
            .next()
            .map(str::to_owned)
            .unwrap()
    };
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
            ask(site.http, "/q", forwarded).await,
            expected,
            "{forwarded}"
        );
    }
    let open = site.server.listener("open");
    let told = "x-forwarded-for: 198.51.100.7\r\n";
    assert_eq!(
        ask(open, "/dns-query", told).await,
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

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_chosen_by_name_and_changed_without_a_restart() {
    let authority = Authority::new("elsewhere");
    authority.server("b", &["other.test"]);
    let folder = authority.folder().display().to_string();
    let more = format!(
        "certificates = [{{ certificate = \"{folder}/b.pem\", key = \"{folder}/b.key\" }}], tickets = {{ rotate = \"1h\" }}"
    );
    let site = Site::start("", &more).await;
    let serial = async |address: SocketAddr, name: &str| {
        let args = format!("-servername {name} -alpn dot,h2");
        let said = s_client(address, site.authority.folder(), &args).await;
        fs::write(site.authority.file("seen.pem"), &said.text).unwrap();
        let x509 = "x509 -in seen.pem -noout -serial -ext subjectAltName";
        run("openssl", site.authority.folder(), x509).await.text
    };
    for address in [site.dot, site.doh] {
        assert!(
            serial(address, "other.test")
                .await
                .contains("DNS:other.test")
        );
        for name in ["dns.test", "unknown.test"] {
            assert!(
                serial(address, name).await.contains("DNS:dns.test"),
                "{name}"
            );
        }
    }
    // A session goes on, after a reload too.
    let session = "-servername dns.test -tls1_2 -sess_out session.pem";
    s_client(site.dot, site.authority.folder(), session)
        .await
        .expect("New, TLSv1.2");
    assert_eq!(site.server.admin.reload().await.status, 200);
    let resumed = "-servername dns.test -tls1_2 -sess_in session.pem";
    s_client(site.dot, site.authority.folder(), resumed)
        .await
        .expect("Reused, TLSv1.2");
    let metric = "tidegate_dns_tls_handshakes_total{listener=\"dot\",outcome=\"resumed\"}";
    assert_eq!(site.metric(metric).await, 1.0);
    // Another certificate in the same files.
    let order = Order {
        names: &["dns.test"],
        serial: 0x77,
        ..Order::default()
    };
    site.authority.make("a", order);
    eventually("the new certificate is served", SOON, async || {
        serial(site.dot, "dns.test")
            .await
            .contains("serial=77")
            .then_some(())
    })
    .await;
    // One that cannot be used changes nothing.
    site.authority.write("a.pem", "nonsense");
    let answer = site.server.admin.reload().await;
    assert_eq!(answer.status, 422);
    assert!(
        answer.text().contains("a.pem cannot be used"),
        "{}",
        answer.text()
    );
    assert!(serial(site.dot, "dns.test").await.contains("serial=77"));
}

#[tokio::test]
async fn mistakes_are_told_with_their_places() {
    let authority = Authority::new("authority");
    authority.server("a", &["dns.test"]);
    let expired = Order {
        names: &["old.test"],
        days: -3,
        ..Order::default()
    };
    authority.make("old", expired);
    let check = |listener: &str| {
        let file = format!(
            "admin = {{ address = \"127.0.0.1:0\" }}\n[[listener]]\nname = \"l\"\naddress = \"127.0.0.1:853\"\n{listener}\n"
        );
        authority.write("dns.toml", file);
        let output = binary::run(authority.folder(), &["check", "dns.toml"]);
        let said = [output.stdout, output.stderr].concat();
        (
            output.status.success(),
            String::from_utf8_lossy(&said).into_owned(),
        )
    };
    let sound = "certificate = \"a.pem\", key = \"a.key\"";
    for (listener, expected) in [
        (
            format!("tls = {{ {sound}, versions = [] }}"),
            "at least one version",
        ),
        ("tls = { certificate = \"a.pem\" }".into(), "key"),
        (
            "tls = { certificate = \"no.pem\", key = \"a.key\" }".into(),
            "cannot read the certificate",
        ),
        (
            "tls = { certificate = \"a.key\", key = \"a.key\" }".into(),
            "there is none in it",
        ),
        (
            "tls = { certificate = \"a.pem\", key = \"old.key\" }".into(),
            "not the key of the certificate",
        ),
        (
            format!("tls = {{ {sound}, certificates = [{{ {sound} }}] }}"),
            "two certificates are made out to `dns.test`",
        ),
        (
            format!("tls = {{ {sound}, tickets = {{ rotate = \"1s\" }} }}"),
            "from 1m to 7d",
        ),
        (
            format!("tls = {{ {sound} }}\nhttp = {{ path = \"dns\" }}"),
            "begins with `/`",
        ),
        ("http = { streams = 0 }".into(), "from 1 to 1000"),
        ("proxy_protocol = \"required\"".into(), "trusts nobody"),
        ("trusted = [\"10.0.0.0/33\"]".into(), "not a network"),
    ] {
        let (sound, said) = check(&listener);
        assert!(!sound && said.contains(expected), "{listener}:\n{said}");
        assert!(
            said.contains("dns.toml:5:") || said.contains("dns.toml:6:"),
            "{said}"
        );
    }
    let (sound, said) = check("tls = { certificate = \"old.pem\", key = \"old.key\" }");
    assert!(
        sound && said.contains("the certificate of `old.test` has expired"),
        "{said}"
    );
}

const LIMITS: &str = "tcp = { idle = \"1s\", progress = \"1s\", connections_per_client = 100 }\n";

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
