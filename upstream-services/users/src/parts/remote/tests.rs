//! A part that takes connections and answers nothing.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

/// A part that answers when it is told to, and how to reach it.
async fn hung() -> (Arc<AtomicBool>, Arc<Peer>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let answers = Arc::new(AtomicBool::new(false));
    let told = answers.clone();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            if !told.load(Relaxed) {
                held.push(stream);
                continue;
            }
            tokio::spawn(async move {
                let _ = stream.read(&mut [0; 4096]).await;
                let answer =
                    b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\nnull";
                let _ = stream.write_all(answer).await;
            });
        }
    });
    let secret = toml::Value::from("the secret of all parts").try_into();
    let peer = Peer::new(Part::Sessions, &base, &secret.unwrap());
    (answers, peer)
}

#[tokio::test]
async fn a_part_that_only_takes_long_is_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = [0; 4096];
                let read = stream.read(&mut head).await.unwrap_or(0);
                if head[..read].starts_with(b"GET /internal") {
                    tokio::time::sleep(Duration::from_secs(4)).await;
                }
                let _ = stream.write_all(NOTHING).await;
            });
        }
    });
    let secret = toml::Value::from("the secret of all parts").try_into();
    let peer = Peer::new(Part::Sessions, &base, &secret.unwrap());
    let (answer, took) = ask(&peer).await;
    assert!(answer.unwrap().is_none());
    assert!(took >= Duration::from_secs(4), "{took:?}");
}

async fn ask(peer: &Arc<Peer>) -> (Result<Option<State>, Error>, Duration) {
    let asked = Instant::now();
    let states = RemoteSessions(peer.clone());
    let answer = states.state("12".parse().unwrap(), Need::Any).await;
    (answer, asked.elapsed())
}

#[tokio::test]
async fn a_part_that_hangs_costs_seconds_once_and_is_found_again() {
    let (answers, peer) = hung().await;
    let three = futures::future::join_all((0..3).map(|_| ask(&peer))).await;
    for (answer, took) in three {
        assert!(matches!(answer, Err(Error::Away("sessions"))));
        assert!(took < Duration::from_secs(5), "{took:?}");
    }
    for _ in 0..20 {
        let (answer, took) = ask(&peer).await;
        assert!(matches!(answer, Err(Error::Away("sessions"))));
        assert!(took < Duration::from_millis(100), "{took:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    answers.store(true, Relaxed);
    let back = Instant::now();
    while ask(&peer).await.0.is_err() {
        assert!(back.elapsed() < Duration::from_secs(10), "it is back");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// There is no such session.
const NOTHING: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\nnull";
