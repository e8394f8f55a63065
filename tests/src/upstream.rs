//! An upstream that records what reaches it, and can fail in many ways.
//!
//! It answers 200 with what it saw, as JSON: `{"upstream", "target", "headers"}`.
//! A request for an `Upgrade` is answered 101, and whatever follows is sent back.
//! Its health check at `/healthz` is answered apart and not recorded.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::header::HeaderMap;
use serde_json::{Map, Value, json};
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::wire::{read_body, read_head};

/// An upstream with a name.
#[derive(Debug)]
pub struct Upstream {
    /// Where it listens, also after it died and came back.
    pub address: SocketAddr,
    shared: Arc<Shared>,
    serving: Option<Serving>,
}

#[derive(Debug)]
struct Serving {
    retiring: watch::Sender<bool>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    name: String,
    seen: Mutex<Vec<Seen>>,
    healthy: AtomicBool,
    /// Whether half of the checks fail, at random.
    flaps: AtomicBool,
    checks: AtomicU64,
    failed_checks: AtomicU64,
    delay_ms: AtomicU64,
}

/// A request that reached the upstream.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Its target as it came.
    pub target: String,
    /// Its headers.
    pub headers: HeaderMap,
}

impl Upstream {
    /// Starts one on a free port.
    ///
    /// # Panics
    /// When no port is free.
    pub async fn start(name: &str) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await;
        let listener = listener.expect("a port is free");
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            seen: Mutex::default(),
            healthy: AtomicBool::new(true),
            flaps: AtomicBool::new(false),
            checks: AtomicU64::new(0),
            failed_checks: AtomicU64::new(0),
            delay_ms: AtomicU64::new(0),
        });
        Self {
            address: listener.local_addr().expect("it is bound"),
            serving: Some(Serving::begin(listener, shared.clone())),
            shared,
        }
    }

    /// The requests that reached it so far.
    ///
    /// # Panics
    /// Never: nothing panics while it holds the lock.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared
            .seen
            .lock()
            .expect("nothing panics in it")
            .clone()
    }

    /// How many requests reached it so far.
    ///
    /// # Panics
    /// Never: nothing panics while it holds the lock.
    pub fn count(&self) -> usize {
        self.shared.seen.lock().expect("nothing panics in it").len()
    }

    /// How often its health was asked for.
    pub fn checks(&self) -> u64 {
        self.shared.checks.load(SeqCst)
    }

    /// How often it has said that it is not well.
    pub fn failed_checks(&self) -> u64 {
        self.shared.failed_checks.load(SeqCst)
    }

    /// Says half of the times from now on that it is not well, at random.
    pub fn flap(&self) {
        self.shared.flaps.store(true, SeqCst);
    }

    /// Says from now on that it is well, or that it is not.
    pub fn set_healthy(&self, healthy: bool) {
        self.shared.healthy.store(healthy, SeqCst);
    }

    /// Waits so long before each answer from now on.
    pub fn set_delay(&self, delay: Duration) {
        let delay = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        self.shared.delay_ms.store(delay, SeqCst);
    }

    /// Dies at once: its port refuses connections, open ones break.
    pub async fn die(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.task.abort();
            let _ = serving.task.await;
        }
    }

    /// Stops as a server should: its port refuses connections, requests that it has are answered.
    pub async fn retire(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.retiring.send_replace(true);
            let _ = serving.task.await;
        }
    }

    /// Comes back on the same port.
    ///
    /// # Panics
    /// When somebody else has taken the port.
    pub async fn come_back(&mut self) {
        let listener = TcpListener::bind(self.address).await;
        let listener = listener.expect("nobody else has taken the port");
        self.serving = Some(Serving::begin(listener, self.shared.clone()));
    }
}

impl Serving {
    fn begin(listener: TcpListener, shared: Arc<Shared>) -> Self {
        let (retiring, retired) = watch::channel(false);
        let task = tokio::spawn(serve(listener, shared, retired));
        Self { retiring, task }
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        if let Some(serving) = &self.serving {
            serving.task.abort();
        }
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>, retiring: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    let mut closing = retiring.clone();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    connections.spawn(converse(stream, shared.clone(), retiring.clone()));
                }
            }
            _ = closing.wait_for(|retiring| *retiring) => break,
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn converse(
    stream: TcpStream,
    shared: Arc<Shared>,
    mut retiring: watch::Receiver<bool>,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    loop {
        let head = tokio::select! {
            biased;
            head = read_head(&mut stream) => head?,
            _ = retiring.wait_for(|retiring| *retiring) => return Ok(()),
        };
        let Some((first, headers)) = head else {
            return Ok(());
        };
        if let Some(protocol) = headers.get("upgrade") {
            let protocol = protocol.to_str().unwrap_or_default();
            return echo(stream, protocol).await;
        }
        read_body(&mut stream, &headers).await?;
        let target = first.split(' ').nth(1).unwrap_or_default().to_owned();
        let (status, body) = shared.answer(target, headers).await;
        let answer = format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\nserver: secret/1.0\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.get_mut().write_all(answer.as_bytes()).await?;
    }
}

async fn echo(mut stream: BufReader<TcpStream>, protocol: &str) -> io::Result<()> {
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: {protocol}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    let (mut from, mut to) = tokio::io::split(stream);
    tokio::io::copy(&mut from, &mut to).await.map(drop)
}

impl Shared {
    async fn answer(&self, target: String, headers: HeaderMap) -> (&'static str, String) {
        if target == "/healthz" {
            self.checks.fetch_add(1, SeqCst);
            let lost = self.flaps.load(SeqCst) && rand::random();
            if self.healthy.load(SeqCst) && !lost {
                return ("200 OK", "{}".into());
            }
            self.failed_checks.fetch_add(1, SeqCst);
            return ("503 Service Unavailable", "{}".into());
        }
        let told: Map<String, Value> = headers
            .iter()
            .map(|(name, value)| {
                (
                    name.to_string(),
                    String::from_utf8_lossy(value.as_bytes()).into(),
                )
            })
            .collect();
        let body = json!({ "upstream": self.name, "target": target, "headers": told });
        let seen = Seen { target, headers };
        self.seen.lock().expect("nothing panics in it").push(seen);
        let delay = self.delay_ms.load(SeqCst);
        if delay > 0 {
            tokio::time::sleep(Duration::from_millis(delay)).await;
        }
        ("200 OK", body.to_string())
    }
}
