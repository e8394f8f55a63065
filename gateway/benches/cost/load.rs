//! Requests over keep-alive connections, each sent when the one before is answered.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub(super) struct Round {
    pub(super) requests: u64,
    pub(super) seconds: f64,
}

const CONNECTIONS: usize = 64;

pub(super) fn run(address: &str, token: &str, time: Duration) -> Round {
    let request = format!(
        "GET /v1/users/200229694490755072?fields=name HTTP/1.1\r\nHost: bench.example.com\r\n\
         User-Agent: tidegate-bench\r\nAccept: application/json\r\n\
         Authorization: Bearer {token}\r\n\r\n"
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime can be made").block_on(async {
        let start = Instant::now();
        let connections: Vec<_> = (0..CONNECTIONS)
            .map(|_| {
                tokio::spawn(connection(
                    address.to_owned(),
                    request.clone(),
                    start + time,
                ))
            })
            .collect();
        let mut requests = 0;
        for connection in connections {
            requests += connection.await.expect("every answer is 200");
        }
        let seconds = start.elapsed().as_secs_f64();
        Round { requests, seconds }
    })
}

async fn connection(address: String, request: String, end: Instant) -> u64 {
    let mut stream = TcpStream::connect(address)
        .await
        .expect("the proxy listens");
    stream.set_nodelay(true).expect("it is TCP");
    let mut requests = 0;
    let mut buffer = vec![0; 8192];
    while Instant::now() < end {
        stream
            .write_all(request.as_bytes())
            .await
            .expect("the proxy reads");
        let mut filled = 0;
        while !is_whole(&buffer[..filled]) {
            let count = stream
                .read(&mut buffer[filled..])
                .await
                .expect("the proxy answers");
            assert!(
                count > 0,
                "closed after {:?}",
                String::from_utf8_lossy(&buffer[..filled])
            );
            filled += count;
        }
        let answer = &buffer[..filled];
        assert!(
            answer.starts_with(b"HTTP/1.1 200"),
            "{}",
            String::from_utf8_lossy(answer)
        );
        requests += 1;
    }
    requests
}

/// Whether head and the 80 bytes of the body are there.
fn is_whole(answer: &[u8]) -> bool {
    answer.ends_with(&[b'x'; 80])
}
