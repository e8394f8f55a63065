//! The gateway's relay between clients and HTTP/1.1 upstreams: bodies in both directions, and what
//! becomes of kept connections.

use std::time::{Duration, Instant};

use tidegate_tests::gateway::{Gateway, Keys};
use tidegate_tests::nginx::Nginx;
use tidegate_tests::tokens::write_certificate;
use tidegate_tests::wire::Wire;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A gateway with these keys, and with these of its cluster.
async fn gateway(upstream: std::net::SocketAddr, cluster: &str, gateway: &str) -> Gateway {
    let keys = Keys {
        gateway,
        cluster,
        ..Keys::default()
    };
    Gateway::with(&keys.before(&upstream.to_string())).await
}

/// An upstream that does this with its first connection.
async fn upstream<F: Future<Output = ()> + Send + 'static>(
    serve: impl FnOnce(TcpStream) -> F + Send + 'static,
) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move {
        let accepted = listener.accept().await;
        serve(accepted.expect("the gateway connects").0).await;
    });
    address
}

/// Waits for the head of a request; none when the connection ends.
async fn head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8_lossy(&head).into_owned())
}

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[tokio::test]
async fn a_large_body_reaches_an_upstream_over_tls() {
    let nginx = Nginx::start(
        "client_max_body_size 0;
         server { listen ADDRESS ssl; ssl_certificate FOLDER/cert.pem; ssl_certificate_key FOLDER/key.pem;
                  location / { proxy_pass http://unix:FOLDER/behind; } }
         server { listen unix:FOLDER/behind; location / { return 200 $content_length; } }",
        |folder| write_certificate(&folder.join("cert.pem"), &folder.join("key.pem")),
    )
    .await;
    let folder = nginx.folder().display();
    let tls = format!("tls = {{ server_name = \"localhost\", ca = \"{folder}/cert.pem\" }}");
    let gateway = gateway(nginx.address, &tls, "").await;
    let length = 20 << 20;
    for _ in 0..3 {
        let mut wire = Wire::connect(gateway.listener("http")).await.unwrap();
        let head = format!("POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: {length}\r\n\r\n");
        wire.send(head).await.unwrap();
        wire.send(vec![b'x'; length]).await.unwrap();
        let answer = wire.answer().await.unwrap().expect(200);
        assert_eq!(answer.text(), length.to_string());
    }
}

#[tokio::test]
async fn a_client_is_invited_when_a_plugin_keeps_the_upstream_from_it() {
    let address = upstream(async |mut stream| {
        let asked = head(&mut stream).await.unwrap();
        assert!(!asked.to_lowercase().contains("expect"), "{asked}");
        stream.read_exact(&mut [0; 2]).await.unwrap();
        stream.write_all(OK).await.unwrap();
    })
    .await;
    let plugins = "plugins = [\"strip\"]\n[plugin.strip]\nkind = \"headers\"\nrequest = { remove = [\"expect\"] }";
    let gateway = gateway(address, "", plugins).await;
    let mut client = TcpStream::connect(gateway.listener("http")).await.unwrap();
    let request =
        "POST / HTTP/1.1\r\nhost: a.test\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n";
    client.write_all(request.as_bytes()).await.unwrap();
    let invited = tokio::time::timeout(Duration::from_secs(5), head(&mut client)).await;
    let invited = invited.expect("the gateway invites").unwrap();
    assert!(invited.starts_with("HTTP/1.1 100 "), "{invited}");
    client.write_all(b"ab").await.unwrap();
    assert!(
        head(&mut client)
            .await
            .unwrap()
            .starts_with("HTTP/1.1 200 ")
    );
}

#[tokio::test]
async fn what_is_idempotent_is_sent_again_though_its_body_is_still_to_come() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut first, _) = listener.accept().await.unwrap();
        head(&mut first).await.unwrap();
        first.write_all(OK).await.unwrap();
        // The second request finds the connection closing.
        head(&mut first).await.unwrap();
        drop(first);
        let (mut second, _) = listener.accept().await.unwrap();
        head(&mut second).await.unwrap();
        second.read_exact(&mut [0; 2]).await.unwrap();
        second.write_all(OK).await.unwrap();
    });
    let gateway = gateway(address, "retries = 0", "").await;
    let mut wire = Wire::connect(gateway.listener("http")).await.unwrap();
    let get = wire
        .exchange("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n")
        .await;
    get.unwrap().expect(200);
    let put = "PUT / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 2\r\n\r\n";
    wire.send(put).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    wire.send("ab").await.unwrap();
    wire.answer().await.unwrap().expect(200);
}

#[tokio::test]
async fn an_upstream_may_be_silent_while_it_waits_for_the_body() {
    let address = upstream(async |mut stream| {
        head(&mut stream).await.unwrap();
        stream.read_exact(&mut [0; 4]).await.unwrap();
        stream.write_all(OK).await.unwrap();
    })
    .await;
    let gateway = gateway(address, "read_timeout = \"150ms\"", "").await;
    let mut wire = Wire::connect(gateway.listener("http")).await.unwrap();
    let post = "POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 4\r\n\r\nab";
    wire.send(post).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    wire.send("cd").await.unwrap();
    wire.answer().await.unwrap().expect(200);
}

#[tokio::test]
async fn an_early_answer_does_not_wait_for_an_upload_that_is_stuck() {
    let address = upstream(async |mut stream| {
        head(&mut stream).await.unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        let answer = b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        stream.write_all(answer).await.unwrap();
        tokio::time::sleep(Duration::from_secs(30)).await;
    })
    .await;
    let gateway = gateway(address, "", "").await;
    let mut client = TcpStream::connect(gateway.listener("http")).await.unwrap();
    let length = 64 << 20;
    let request = format!("POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: {length}\r\n\r\n");
    client.write_all(request.as_bytes()).await.unwrap();
    let (mut reader, mut writer) = client.into_split();
    let began = Instant::now();
    tokio::spawn(async move { writer.write_all(&vec![b'x'; length]).await });
    let mut told = Vec::new();
    let _ = reader.read_to_end(&mut told).await;
    let told = String::from_utf8_lossy(&told);
    assert!(told.starts_with("HTTP/1.1 413 "), "{told}");
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
}
