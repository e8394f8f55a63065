//! HTTP/2 with clients: what floods, bombs and silence cost, and what malformed requests get.

use std::fs;
use std::time::{Duration, Instant};

use tidegate_tests::eventually::{SOON, eventually};
use tidegate_tests::gateway::{Gateway, Keys};
use tidegate_tests::h2_raw::{
    END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, Frame, RawH2, block, fields, frame, kind, request,
};
use tidegate_tests::upstream::Upstream;

/// A gateway that accepts HTTP/2 without TLS, with more keys of its `http2` table.
async fn gateway(upstream: &str, keys: &str) -> Gateway {
    let listener = format!("h2c = true\n{keys}");
    let keys = Keys {
        gateway: "threads = 1",
        listener: &listener,
        ..Keys::default()
    };
    Gateway::with(&keys.before(upstream)).await
}

async fn refused(gateway: &Gateway, reason: &str) -> Option<f64> {
    let metric = "tidegate_gateway_http2_refused_total{listener=\"http\",reason=\"";
    gateway.admin.metric(&format!("{metric}{reason}\"}}")).await
}

/// User and system time of the gateway so far.
fn cpu(gateway: &Gateway) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{}/stat", gateway.process.id()));
    let stat = stat.expect("it runs");
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or("").split(' ').collect();
    let ticks: u64 = fields[11..13]
        .iter()
        .filter_map(|one| one.parse::<u64>().ok())
        .sum();
    Duration::from_millis(ticks * 10)
}

fn memory(gateway: &Gateway) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", gateway.process.id()));
    let status = status.expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: usize = line
        .and_then(|line| line.trim().trim_end_matches(" kB").parse().ok())
        .expect("Linux tells");
    kib * 1024
}

/// The odd numbers that a client's streams have.
fn stream(turn: u32) -> u32 {
    2 * turn + 1
}

async fn flood(
    reason: &str,
    first: Vec<u8>,
    bytes: impl FnMut(u32) -> Vec<u8>,
) -> (usize, Option<u32>) {
    let upstream = Upstream::start("up").await;
    let gateway = gateway(&upstream.address.to_string(), "").await;
    let address = gateway.listener("http");
    let before = cpu(&gateway);
    let started = Instant::now();
    let mut client = RawH2::connect(address, &[])
        .await
        .expect("the gateway accepts");
    client.send(&first).await.expect("the connection holds");
    let (sent, end) = client.flood(200_000, SOON, bytes).await;
    println!(
        "{reason}: {sent} sent, {end:?}, {} requests upstream, {:?} of CPU time in {:?}",
        upstream.count(),
        cpu(&gateway) - before,
        started.elapsed(),
    );
    eventually("it is counted", SOON, async || {
        refused(&gateway, reason).await
    })
    .await;
    let mut other = RawH2::connect(address, &[])
        .await
        .expect("the gateway accepts");
    other
        .send(&request(1, "GET", "/", &[], true))
        .await
        .expect("the gateway accepts");
    assert_eq!(other.verdict(1).await.payload[0], OK, "others are served");
    (sent, end.code)
}

/// `:status: 200` and `400`, indexed (RFC 7541, appendix A).
const OK: u8 = 0x88;
const BAD_REQUEST: u8 = 0x8c;

const CANCEL: [u8; 4] = [0, 0, 0, 8];

#[tokio::test]
async fn rapid_resets_end_the_connection() {
    let (_, code) = flood("resets", Vec::new(), |turn| {
        let id = stream(turn);
        let asked = request(id, "GET", "/", &[], true);
        [asked, frame(kind::RST_STREAM, 0, id, &CANCEL)].concat()
    })
    .await;
    assert!(matches!(code, Some(ENHANCE_YOUR_CALM) | None), "{code:?}");
}

#[tokio::test]
async fn slow_rapid_resets_end_it_too() {
    let upstream = Upstream::start("up").await;
    upstream.set_delay(Duration::from_millis(20));
    let gateway = gateway(&upstream.address.to_string(), "http2 = { resets = 20 }").await;
    let mut client = RawH2::connect(gateway.listener("http"), &[]).await.unwrap();
    for turn in 0..100 {
        let id = stream(turn);
        if client
            .send(&request(id, "GET", "/", &[], true))
            .await
            .is_err()
        {
            break;
        }
        // Each is on its way to the upstream by now.
        tokio::time::sleep(Duration::from_millis(3)).await;
        let _ = client.send(&frame(kind::RST_STREAM, 0, id, &CANCEL)).await;
    }
    let end = client.end(SOON).await;
    assert_eq!(end.code, Some(ENHANCE_YOUR_CALM));
    assert!(upstream.count() <= 30, "{}", upstream.count());
}

#[tokio::test]
async fn resets_that_the_gateway_is_made_to_send_count() {
    let (_, code) = flood("resets", Vec::new(), |turn| {
        let id = stream(turn);
        let asked = request(id, "POST", "/", &[], false);
        // Beyond the largest window, which is an error of the stream (RFC 9113, section 6.9.1).
        let most = 0x7fff_ffff_u32.to_be_bytes();
        [asked, frame(kind::WINDOW_UPDATE, 0, id, &most)].concat()
    })
    .await;
    assert!(matches!(code, Some(ENHANCE_YOUR_CALM) | None), "{code:?}");
}

#[tokio::test]
async fn cheap_frames_end_the_connection() {
    let flow = [0, 0, 0, 1];
    for (reason, bytes) in [
        ("pings", frame(kind::PING, 0, 0, &[7; 8])),
        ("settings", frame(kind::SETTINGS, 0, 0, &[])),
        ("window_updates", frame(kind::WINDOW_UPDATE, 0, 0, &flow)),
        ("priorities", frame(kind::PRIORITY, 0, 1, &[0, 0, 0, 3, 7])),
        ("unknown_frames", frame(0xee, 0, 0, b"grease")),
    ] {
        let (_, code) = flood(reason, Vec::new(), |_| bytes.clone()).await;
        assert!(matches!(code, Some(ENHANCE_YOUR_CALM) | None), "{code:?}");
    }
}

#[tokio::test]
async fn empty_data_ends_the_connection() {
    let open = request(1, "POST", "/", &[], false);
    let (_, code) = flood("data_frames", open, |_| frame(kind::DATA, 0, 1, &[])).await;
    assert!(matches!(code, Some(ENHANCE_YOUR_CALM) | None), "{code:?}");
}

#[tokio::test]
async fn endless_header_blocks_end_the_connection() {
    let open = frame(kind::HEADERS, END_STREAM, 1, &block("GET", "/", &[]));
    let (_, code) = flood("continuations", open, |turn| {
        let name = format!("x-{turn}");
        frame(kind::CONTINUATION, 0, 1, &fields(&[(name.as_str(), "y")]))
    })
    .await;
    assert!(matches!(code, Some(ENHANCE_YOUR_CALM) | None), "{code:?}");
}

#[tokio::test]
async fn a_bomb_of_compressed_headers_ends_the_connection() {
    // A header of 3,000 bytes goes into the table, and is then named by one byte each.
    let mut bomb = block("GET", "/", &[]);
    bomb.push(0x40);
    bomb.extend(&fields(&[("x", &*"y".repeat(3000))])[1..]);
    bomb.extend([0x80 | 62; 5000]);
    let bomb = frame(kind::HEADERS, END_HEADERS | END_STREAM, 1, &bomb);
    let (_, code) = flood("headers", bomb, |_| Vec::new()).await;
    assert_eq!(code, Some(ENHANCE_YOUR_CALM));
}

#[tokio::test]
async fn a_window_beyond_its_limit_ends_the_connection() {
    let most = 0x7fff_ffff_u32.to_be_bytes();
    let (_, code) = flood("flow_control_error", Vec::new(), |_| {
        frame(kind::WINDOW_UPDATE, 0, 0, &most)
    })
    .await;
    assert_eq!(code, Some(3));
}

#[tokio::test]
async fn too_many_headers_are_refused_alone() {
    let upstream = Upstream::start("up").await;
    let gateway = gateway(
        &upstream.address.to_string(),
        "http2 = { header_count = 10 }",
    )
    .await;
    let mut client = RawH2::connect(gateway.listener("http"), &[]).await.unwrap();
    let many = [("x", "y"); 11];
    client
        .send(&request(1, "GET", "/", &many, true))
        .await
        .unwrap();
    assert_ne!(client.verdict(1).await.payload[0], OK);
    client
        .send(&request(3, "GET", "/", &many[..10], true))
        .await
        .unwrap();
    assert_eq!(client.verdict(3).await.payload[0], OK);
    assert_eq!(refused(&gateway, "header_count").await, Some(1.0));
    assert_eq!(upstream.count(), 1);
}

#[tokio::test]
async fn malformed_requests_reach_no_upstream() {
    let upstream = Upstream::start("up").await;
    let gateway = gateway(&upstream.address.to_string(), "").await;
    let address = gateway.listener("http");
    let cases: &[(&str, &[(&str, &str)])] = &[
        ("/", &[("connection", "close")]),
        ("/", &[("transfer-encoding", "chunked")]),
        ("/", &[("upgrade", "websocket")]),
        ("/", &[("keep-alive", "1")]),
        ("/", &[("proxy-connection", "close")]),
        ("/", &[("te", "gzip")]),
        ("/", &[("X-Upper", "1")]),
        ("/", &[("host", "b.test")]),
        ("/", &[("host", "a.test"), ("host", "b.test")]),
        ("/", &[("x", "a\r\nb: c")]),
        ("/", &[("x y", "1")]),
        ("/", &[("", "1")]),
        ("/", &[(":path", "/other")]),
        ("/", &[("x", "1"), (":status", "200")]),
        ("/", &[("content-length", "5")]),
        ("/", &[("content-length", "0, 1")]),
        ("", &[]),
        ("a", &[]),
        ("*", &[]),
        ("http://b.test/", &[]),
        ("/a b", &[]),
        ("/a\u{1}", &[]),
        ("//../etc", &[]),
        ("/%2e%2e/%2e%2e/etc", &[]),
    ];
    for (path, headers) in cases {
        let mut client = RawH2::connect(address, &[]).await.unwrap();
        client
            .send(&request(1, "GET", path, headers, true))
            .await
            .unwrap();
        let Frame { kind, payload, .. } = client.verdict(1).await;
        let refused = matches!(kind, kind::RST_STREAM | kind::GOAWAY) || payload[0] == BAD_REQUEST;
        assert!(refused, "{path:?} {headers:?}: {kind} {payload:?}");
    }
    let mut client = RawH2::connect(address, &[]).await.unwrap();
    let trailers = request(
        1,
        "GET",
        "/",
        &[("te", "trailers"), ("host", "a.test")],
        true,
    );
    client.send(&trailers).await.unwrap();
    assert_eq!(client.verdict(1).await.payload[0], OK);
    assert_eq!(upstream.count(), 1);
}

#[tokio::test]
async fn a_window_of_zero_ends_the_response() {
    let upstream = large_upstream().await;
    let gateway = gateway(&upstream, "timeouts = { write = \"500ms\" }").await;
    let address = gateway.listener("http");
    // SETTINGS_INITIAL_WINDOW_SIZE (RFC 9113, section 6.5.2).
    let mut client = RawH2::connect(address, &[(4, 0)]).await.unwrap();
    client
        .send(&request(1, "GET", "/", &[], true))
        .await
        .unwrap();
    assert_eq!(client.verdict(1).await.payload[0], OK);
    let reset = tokio::time::timeout(SOON, client.verdict(1)).await;
    assert_eq!(
        reset.expect("the response is given up").kind,
        kind::RST_STREAM
    );
}

#[tokio::test]
async fn a_client_that_never_reads_holds_no_memory() {
    let upstream = large_upstream().await;
    let gateway = gateway(&upstream, "timeouts = { write = \"1s\" }").await;
    let address = gateway.listener("http");
    let before = memory(&gateway);
    let mut clients = Vec::new();
    for _ in 0..10 {
        let window = 0x7fff_0000;
        let mut client = RawH2::connect(address, &[(4, window)]).await.unwrap();
        let update = frame(kind::WINDOW_UPDATE, 0, 0, &window.to_be_bytes());
        client.send(&update).await.unwrap();
        for turn in 0..100 {
            let asked = request(stream(turn), "GET", "/", &[], true);
            client.send(&asked).await.unwrap();
        }
        clients.push(client);
    }
    let mut most = 0;
    // The connections end, or the responses alone where the client's buffers took what was left.
    eventually("they are ended", SOON, async || {
        most = most.max(memory(&gateway));
        let pressure = gateway.admin.get("/pressure").await.json();
        let stalled = most > before + (16 << 20) && pressure["in_flight"] == 0;
        stalled.then_some(())
    })
    .await;
    let held = most.saturating_sub(before);
    println!(
        "1,000 responses of 64 MiB, unread, held {} KiB",
        held / 1024
    );
    // Pingora reads ahead a few pieces of 64 KiB for each response.
    assert!(held < 1000 << 20, "{held}");
}

#[tokio::test]
async fn idle_connections_are_told_to_go() {
    let upstream = Upstream::start("up").await;
    let gateway = gateway(
        &upstream.address.to_string(),
        "timeouts = { idle = \"300ms\" }",
    )
    .await;
    let mut client = RawH2::connect(gateway.listener("http"), &[]).await.unwrap();
    client
        .send(&request(1, "GET", "/", &[], true))
        .await
        .unwrap();
    let end = client.end(SOON).await;
    assert_eq!(end.code, Some(0), "without an error");
}

#[tokio::test]
async fn a_listener_that_goes_lets_requests_finish() {
    let upstream = Upstream::start("up").await;
    upstream.set_delay(Duration::from_millis(800));
    let gateway = gateway(&upstream.address.to_string(), "").await;
    let mut client = RawH2::connect(gateway.listener("http"), &[]).await.unwrap();
    client
        .send(&request(1, "GET", "/", &[], true))
        .await
        .unwrap();
    eventually("the upstream has it", SOON, async || {
        (upstream.count() == 1).then_some(())
    })
    .await;
    gateway.rewrite("admin = { address = \"127.0.0.1:0\" }");
    gateway.admin.reload().await.expect(200);
    let told = tokio::time::timeout(SOON, client.verdict(1))
        .await
        .expect("it is told");
    assert_eq!(told.kind, kind::GOAWAY, "before the answer");
    let answer = tokio::time::timeout(SOON, client.verdict(1))
        .await
        .expect("it is answered");
    assert_eq!(answer.payload[0], OK);
    assert_eq!(client.end(SOON).await.code, Some(0));
}

#[tokio::test]
async fn short_requests_of_the_old_protocol_are_answered_where_both_are_spoken() {
    let upstream = Upstream::start("up").await;
    let gateway = gateway(&upstream.address.to_string(), "").await;
    // Fewer bytes than the preface of HTTP/2 has.
    let answer = tidegate_tests::wire::ask(gateway.listener("http"), "GET / HTTP/1.0\r\n\r\n");
    let answer = tokio::time::timeout(SOON, answer).await;
    assert_eq!(answer.expect("it is answered").status, 200);
}

#[tokio::test]
async fn a_response_that_breaks_off_does_not_look_whole() {
    for head in ["content-length: 100", "transfer-encoding: chunked"] {
        let upstream =
            upstream_of(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n5\r\nhello\r\n")).await;
        let gateway = gateway(&upstream, "").await;
        let mut client = RawH2::connect(gateway.listener("http"), &[]).await.unwrap();
        client
            .send(&request(1, "GET", "/", &[], true))
            .await
            .unwrap();
        assert_eq!(client.verdict(1).await.payload[0], OK);
        let reset = tokio::time::timeout(SOON, client.verdict(1)).await;
        assert_eq!(reset.expect("it ends").kind, kind::RST_STREAM, "{head}");
    }
}

#[tokio::test]
async fn trailers_of_a_request_end_its_body() {
    let upstream = Upstream::start("up").await;
    let gateway = gateway(&upstream.address.to_string(), "").await;
    let mut client = RawH2::connect(gateway.listener("http"), &[]).await.unwrap();
    let trailers = fields(&[("x-checksum", "1")]);
    let asked = [
        request(1, "POST", "/", &[], false),
        frame(kind::DATA, 0, 1, b"body"),
        frame(kind::HEADERS, END_HEADERS | END_STREAM, 1, &trailers),
    ];
    client.send(&asked.concat()).await.unwrap();
    let answer = tokio::time::timeout(SOON, client.verdict(1)).await;
    assert_eq!(answer.expect("it is answered").payload[0], OK);
}

/// An upstream that answers a request with these bytes, and then breaks off.
async fn upstream_of(answer: String) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.expect("a port is free");
    let address = listener.local_addr().expect("it is bound").to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    address
}

/// An upstream that answers every request with 64 MiB, as fast as it may.
async fn large_upstream() -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port is free");
    let address = listener.local_addr().expect("it is bound").to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let _ = stream.read(&mut [0; 4096]).await;
                let head = "HTTP/1.1 200 OK\r\ncontent-length: 67108864\r\n\r\n";
                let _ = stream.write_all(head.as_bytes()).await;
                let piece = vec![0; 1 << 16];
                for _ in 0..1024 {
                    if stream.write_all(&piece).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    address
}
