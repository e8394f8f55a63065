//! How connections end that the client asked to end: at once, and no answer is lost by it.

use std::io;
use std::time::Duration;

use tidegate_tests::eventually::{SOON, eventually};
use tidegate_tests::gateway::Gateway;
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
