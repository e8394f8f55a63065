//! Clients that are slow, silent or gone: each is ended on time, and others do not feel them.

use std::time::{Duration, Instant};

use tidegate_tests::eventually::eventually;
use tidegate_tests::gateway::Gateway;
use tidegate_tests::http1::message::Wire;
use tidegate_tests::http1::recorder::Recorder;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

const HEAD: Duration = Duration::from_secs(2);
const BODY: Duration = Duration::from_secs(2);
const IDLE: Duration = Duration::from_secs(3);
const WRITE: Duration = Duration::from_secs(2);
const TIMEOUTS: &str = "timeouts = { head = \"2s\", body_read = \"2s\", body_rate = \"500B\", idle = \"3s\", write = \"2s\" }";

/// How much earlier or later than said an end may come.
const SLACK: Duration = Duration::from_millis(500);

const STEP: Duration = Duration::from_millis(100);

const GET: &[u8] = b"GET /sized HTTP/1.1\r\nHost: a.test\r\n\r\n";
const UPLOAD: &[u8] = b"POST /sized HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1000000\r\n\r\n";
const CHUNKS: &[u8] =
    b"POST /sized HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe";

struct Setup {
    gateway: Gateway,
    recorder: Recorder,
}

impl Setup {
    async fn start(keys: &str) -> Self {
        let recorder = Recorder::start().await;
        let gateway = Gateway::before(recorder.address, keys).await;
        Self { gateway, recorder }
    }

    async fn connect(&self) -> Wire {
        let connected = Wire::connect(self.gateway.listener("http")).await;
        connected.expect("the gateway accepts")
    }

    /// A client whose kernel takes little for it, so that the gateway sees what it reads.
    async fn connect_with_little_room(&self) -> TcpStream {
        let socket = TcpSocket::new_v4().expect("there are sockets");
        let set = socket.set_recv_buffer_size(4096);
        set.expect("it may be small");
        let connected = socket.connect(self.gateway.listener("http")).await;
        connected.expect("the gateway accepts")
    }

    /// Sends the start of something, then a piece every step; when and how that ends.
    async fn slow(&self, start: &[u8], piece: &[u8]) -> Ended {
        let mut wire = self.connect().await;
        wire.send(start).await.expect("the gateway reads");
        trickle(&mut wire, piece).await
    }

    async fn refused(&self, reason: &str) -> Option<f64> {
        let series =
            format!("tidegate_gateway_refused_total{{listener=\"http\",reason=\"{reason}\"}}");
        self.gateway.admin.metric(&series).await
    }

    /// The upstream was told that the one request it saw will not be completed.
    async fn upload_was_broken_off(&self) {
        eventually("the upstream knows", SLACK, async || {
            let seen = self.recorder.seen();
            let [one] = &*seen else { return None };
            (one.body.is_none() && one.broken.is_some()).then_some(())
        })
        .await;
    }
}

/// How a connection ended.
#[derive(Debug)]
struct Ended {
    after: Duration,
    said: String,
}

impl Ended {
    #[track_caller]
    fn on_time(&self, expected: Duration, status: &str) {
        let early = self.after + SLACK < expected;
        let late = self.after > expected + SLACK;
        assert!(!early && !late, "{expected:?} are expected: {self:?}");
        match status {
            "" => assert_eq!(self.said, "", "closed without a word"),
            status => assert!(
                self.said.starts_with(&format!("HTTP/1.1 {status} ")),
                "{status} is expected: {self:?}"
            ),
        }
    }
}

/// Sends a piece every step, or nothing, until the other side ends the connection.
async fn trickle(wire: &mut Wire, piece: &[u8]) -> Ended {
    let started = Instant::now();
    let mut said = Vec::new();
    while started.elapsed() < Duration::from_secs(10) {
        let _ = wire.send(piece).await; // after a refusal this may fail
        match tokio::time::timeout(STEP, wire.some()).await {
            Err(_) => {}
            Ok(Ok(Some(bytes))) => said.extend(bytes),
            Ok(Ok(None)) => break,
            Ok(Err(wrong)) => said.extend(wrong.into_bytes()),
        }
    }
    Ended {
        after: started.elapsed(),
        said: String::from_utf8_lossy(&said).into_owned(),
    }
}

#[tokio::test]
async fn a_head_must_come_in_time_however_its_bytes_come() {
    let setup = Setup::start(TIMEOUTS).await;
    let line = b"GET /sized HTTP/1.1\r\nX-A: ";
    let (slow_line, slow_field, stalled) = tokio::join!(
        setup.slow(b"GET /", b"a"),
        setup.slow(line, b"a"),
        setup.slow(line, b""),
    );
    slow_line.on_time(HEAD, "408");
    slow_field.on_time(HEAD, "408");
    stalled.on_time(HEAD, "408");
    assert_eq!(setup.refused("slow_head").await, Some(3.0));
    assert!(setup.recorder.seen().is_empty());
}

#[tokio::test]
async fn the_head_of_a_later_request_has_its_own_time() {
    let setup = Setup::start(TIMEOUTS).await;
    let mut wire = setup.connect().await;
    wire.send(GET).await.unwrap();
    wire.head().await.unwrap().unwrap();
    wire.exactly("GET /sized 0".len()).await.unwrap();
    tokio::time::sleep(IDLE / 2).await; // idle time, which is not the head's
    wire.send(b"GET").await.unwrap();
    trickle(&mut wire, b"a").await.on_time(HEAD, "408");
}

#[tokio::test]
async fn who_says_nothing_is_told_nothing() {
    let setup = Setup::start(TIMEOUTS).await;
    let silent = setup.slow(b"", b"");
    let idle = async {
        let mut wire = setup.connect().await;
        wire.send(GET).await.unwrap();
        wire.head().await.unwrap().unwrap();
        wire.exactly("GET /sized 0".len()).await.unwrap();
        trickle(&mut wire, b"").await
    };
    let (silent, idle) = tokio::join!(silent, idle);
    idle.on_time(IDLE, "");
    // Whether a new connection is idle or owes a head is nobody's business.
    silent.on_time(silent.after.clamp(HEAD, IDLE), "");
}

#[tokio::test]
async fn a_body_must_not_stall() {
    let setup = Setup::start(TIMEOUTS).await;
    setup.slow(UPLOAD, b"").await.on_time(BODY, "408");
    setup.upload_was_broken_off().await;
    assert_eq!(setup.refused("slow_body").await, Some(1.0));
}

#[tokio::test]
async fn chunks_must_not_stall() {
    let setup = Setup::start(TIMEOUTS).await;
    setup.slow(CHUNKS, b"").await.on_time(BODY, "408");
    setup.upload_was_broken_off().await;
}

#[tokio::test]
async fn what_came_before_does_not_excuse_a_stall() {
    let setup = Setup::start(TIMEOUTS).await;
    let much = [UPLOAD, &[b'x'; 500_000]].concat();
    setup.slow(&much, b"").await.on_time(BODY, "408");
    setup.upload_was_broken_off().await;
}

#[tokio::test]
async fn a_body_must_not_be_slower_than_the_rate() {
    let setup = Setup::start(TIMEOUTS).await;
    let slow = setup.slow(UPLOAD, b"0123456789").await;
    slow.on_time(BODY, "408");
    setup.upload_was_broken_off().await;
    assert_eq!(setup.refused("slow_body").await, Some(1.0));
}

#[tokio::test]
async fn a_slow_body_above_the_rate_is_taken() {
    let setup = Setup::start(TIMEOUTS).await;
    let mut wire = setup.connect().await;
    let head = "POST /sized HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4000\r\n\r\n";
    wire.send(head.as_bytes()).await.unwrap();
    for _ in 0..40 {
        wire.send(&[b'x'; 100]).await.unwrap();
        tokio::time::sleep(STEP).await;
    }
    let head = wire.head().await.unwrap().unwrap();
    assert_eq!(head.first, "HTTP/1.1 200 OK");
}

#[tokio::test]
async fn who_has_closed_its_side_within_a_request_is_ended_at_once() {
    let setup = Setup::start(TIMEOUTS).await;
    for start in [&GET[..20], UPLOAD, CHUNKS] {
        let mut wire = setup.connect().await;
        wire.send(start).await.unwrap();
        wire.finish().await.unwrap();
        let started = Instant::now();
        let rest = tokio::time::timeout(BODY * 2, wire.rest()).await;
        rest.expect("it is ended").unwrap();
        assert!(started.elapsed() < SLACK, "{:?}", started.elapsed());
    }
}

#[tokio::test]
async fn who_reads_a_little_now_and_then_is_ended() {
    let setup = Setup::start(TIMEOUTS).await;
    let mut stream = setup.connect_with_little_room().await;
    stream
        .write_all(b"GET /large/64 HTTP/1.1\r\nHost: a.test\r\n\r\n")
        .await
        .unwrap();
    let reading = tokio::spawn(async move {
        // Too little for 64 KiB within the time for a write.
        while matches!(stream.read(&mut [0; 1024]).await, Ok(1..)) {
            tokio::time::sleep(WRITE / 8).await;
        }
    });
    eventually("the upstream is let go", WRITE * 8, async || {
        let seen = setup.recorder.seen();
        seen.first()?.broken.clone()
    })
    .await;
    assert_eq!(setup.refused("slow_reader").await, Some(1.0));
    reading.abort();
}

#[tokio::test]
async fn who_does_not_read_is_ended() {
    let setup = Setup::start(TIMEOUTS).await;
    let mut stream = setup.connect_with_little_room().await;
    let started = Instant::now();
    stream
        .write_all(b"GET /large/64 HTTP/1.1\r\nHost: a.test\r\n\r\n")
        .await
        .unwrap();
    eventually("the upstream is let go", WRITE * 4, async || {
        let seen = setup.recorder.seen();
        seen.first()?.broken.clone()
    })
    .await;
    let ended = Ended {
        after: started.elapsed(),
        said: String::new(),
    };
    ended.on_time(WRITE, "");
    assert_eq!(setup.refused("slow_reader").await, Some(1.0));
}

#[tokio::test]
async fn who_reads_slowly_but_steadily_gets_all() {
    let setup = Setup::start(TIMEOUTS).await;
    let mut wire = setup.connect().await;
    wire.send(b"GET /large/8 HTTP/1.1\r\nHost: a.test\r\n\r\n")
        .await
        .unwrap();
    wire.head().await.unwrap().unwrap();
    for _ in 0..32 {
        wire.exactly(1 << 18).await.unwrap();
        tokio::time::sleep(STEP).await;
    }
}
