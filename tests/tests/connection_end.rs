//! How connections end that the client asked to end: at once, and no answer is lost by it.

use std::io;
use std::time::Duration;

use rustix::process::Signal;
use tidegate_tests::eventually::{SOON, eventually};
use tidegate_tests::gateway::{Gateway, Keys};
use tidegate_tests::h2_raw::{RawH2, frame, kind, request};
use tidegate_tests::http1::recorder::Recorder;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// A client with little room for what comes.
async fn client(gateway: &Gateway) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(8192)?;
    socket.connect(gateway.listener("http")).await
}

/// What comes until the end.
async fn rest(client: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    client.read_to_end(&mut all).await?;
    Ok(all)
}

#[tokio::test]
async fn a_client_that_asked_for_the_close_is_not_waited_for() {
    let recorder = Recorder::start().await;
    let listener = "timeouts = { linger = \"60s\" }";
    let gateway = Gateway::before(recorder.address, listener).await;
    let requests = [
        "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
    ];
    let mut clients = Vec::new();
    for request in requests {
        let mut client = client(&gateway).await.unwrap();
        client.write_all(request.as_bytes()).await.unwrap();
        assert!(
            rest(&mut client)
                .await
                .unwrap()
                .starts_with(b"HTTP/1.1 200")
        );
        clients.push(client); // it does not close
    }
    let open = "tidegate_gateway_connections{listener=\"http\"}";
    eventually("the connections are gone", SOON, async || {
        (gateway.admin.metric(open).await == Some(0.0)).then_some(())
    })
    .await;
}

/// Old clients send a line end behind a body, and others a request that nobody will answer.
#[tokio::test]
async fn what_comes_late_behind_a_body_takes_nothing_of_the_answer() {
    const ANSWER: usize = 1 << 20;
    let recorder = Recorder::start().await;
    let gateway = Gateway::before(recorder.address, "").await;
    for late in ["\r\n", "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"] {
        let mut client = client(&gateway).await.unwrap();
        let request = b"POST /large/1 HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\
            Content-Length: 5\r\n\r\nhello";
        client.write_all(request).await.unwrap();
        tokio::time::sleep(Duration::from_millis(400)).await;
        client.write_all(late.as_bytes()).await.unwrap();
        let answer = rest(&mut client).await.unwrap();
        let body = answer.len()
            - answer
                .iter()
                .rev()
                .take_while(|&&byte| byte == b'x')
                .count();
        assert_eq!(answer.len() - body, ANSWER);
        assert!(answer[..body].ends_with(b"\r\n\r\n"));
    }
}

const ASK: &[u8] = b"GET /large/4 HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";

/// A client that sends on behind its request, and reads a little now and then.
async fn read_slowly_and_send(mut client: TcpStream, pause: Duration) -> io::Result<usize> {
    let mut all = 0;
    let mut buffer = vec![0; 32 << 10];
    loop {
        let _ = client.try_write(&[b'x'; 100]);
        match client.read(&mut buffer).await? {
            0 => return Ok(all),
            count => all += count,
        }
        tokio::time::sleep(pause).await;
    }
}

#[tokio::test]
async fn who_reads_slowly_and_sends_on_gets_the_whole_answer() {
    let recorder = Recorder::start().await;
    let listener = "timeouts = { linger = \"300ms\" }";
    let gateway = Gateway::before(recorder.address, listener).await;
    let mut client = client(&gateway).await.unwrap();
    client.write_all(ASK).await.unwrap();
    // 128 or more reads: far longer than `linger`.
    let all = read_slowly_and_send(client, Duration::from_millis(10)).await;
    assert!(all.unwrap() > 4 << 20);
}

#[tokio::test]
async fn who_takes_nothing_is_not_lingered_for() {
    let recorder = Recorder::start().await;
    let listener = "timeouts = { linger = \"300ms\", write = \"60s\" }";
    let gateway = Gateway::before(recorder.address, listener).await;
    let mut client = client(&gateway).await.unwrap();
    // Small enough for the kernel to hold, and with something behind it.
    let request = b"GET /large/1 HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\nmore";
    client.write_all(request).await.unwrap();
    let open = "tidegate_gateway_connections{listener=\"http\"}";
    eventually("the connection is gone", SOON, async || {
        (gateway.admin.metric(open).await == Some(0.0)).then_some(())
    })
    .await;
}

/// A client whose answer has no length: only a reset tells it from a whole one.
async fn cut(gateway: &Gateway) -> TcpStream {
    let mut client = client(gateway).await.expect("the gateway accepts");
    let request = b"GET /stall HTTP/1.0\r\n\r\n";
    client.write_all(request).await.expect("it reads");
    let mut first = [0; 12];
    client.read_exact(&mut first).await.expect("it answers");
    client
}

#[tokio::test]
async fn an_answer_that_a_stop_cuts_does_not_look_whole() {
    for (drain, signals) in [("300ms", 1), ("60s", 2)] {
        let recorder = Recorder::start().await;
        let drain = format!("drain = \"{drain}\"");
        let keys = Keys {
            gateway: &drain,
            ..Keys::default()
        };
        let mut gateway = Gateway::with(&keys.before(&recorder.address.to_string())).await;
        let mut client = cut(&gateway).await;
        for _ in 0..signals {
            gateway.process.signal(Signal::TERM);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        gateway.process.ended(Duration::from_secs(2)).await;
        let end = rest(&mut client).await;
        assert_eq!(end.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }
}

#[tokio::test]
async fn a_stop_waits_until_an_answer_is_taken() {
    let recorder = Recorder::start().await;
    let mut gateway = Gateway::before(recorder.address, "").await;
    let mut client = client(&gateway).await.unwrap();
    client.write_all(ASK).await.unwrap();
    client.write_all(b"more").await.unwrap();
    gateway.process.signal(Signal::TERM);
    let all = read_slowly_and_send(client, Duration::from_millis(10)).await;
    assert!(all.unwrap() > 4 << 20);
    let ended = gateway.process.ended(Duration::from_secs(3)).await;
    assert_eq!(ended.code(), Some(0));
}

#[tokio::test]
async fn a_stop_waits_until_an_answer_over_http_2_is_taken() {
    stop_while_read_over_http_2(false).await;
}

/// Who answers the gateway's PING has had its GOAWAY, and not what comes behind it.
#[tokio::test]
async fn a_stop_waits_also_for_who_has_heard_of_it_over_http_2() {
    stop_while_read_over_http_2(true).await;
}

async fn stop_while_read_over_http_2(answers_pings: bool) {
    const WIDE: u32 = (1 << 31) - 1;
    const INITIAL_WINDOW: u16 = 4;
    const ACK: u8 = 1;
    let recorder = Recorder::start().await;
    let mut gateway = Gateway::before(recorder.address, "h2c = true").await;
    let stream = client(&gateway).await.expect("the gateway accepts");
    let client = RawH2::over(stream, &[(INITIAL_WINDOW, WIDE)]).await;
    let mut client = client.expect("it greets");
    let widen = |by: u32| frame(kind::WINDOW_UPDATE, 0, 0, &by.to_be_bytes());
    let widened = client.send(&widen(WIDE - 65_535)).await;
    widened.expect("it reads");
    let asked = request(1, "GET", "/large/6", &[], true);
    client.send(&asked).await.expect("it reads");
    let (mut received, mut reads) = (0, 0);
    let mut stopped = false;
    while let Ok(Some(got)) = client.frame().await {
        match got.kind {
            kind::DATA => received += got.payload.len(),
            kind::PING if answers_pings && got.flags == 0 => {
                let answer = frame(kind::PING, ACK, 0, &got.payload);
                client.send(&answer).await.expect("it reads");
            }
            _ => {}
        }
        if !stopped && received > 0 {
            gateway.process.signal(Signal::TERM);
            stopped = true;
        }
        reads += 1;
        if reads % 4 == 0 {
            let _ = client.send(&widen(1)).await; // as clients do that read
        }
        tokio::time::sleep(Duration::from_millis(12)).await;
    }
    assert_eq!(received, 6 << 20);
    let ended = gateway.process.ended(Duration::from_secs(3)).await;
    assert_eq!(ended.code(), Some(0));
}
