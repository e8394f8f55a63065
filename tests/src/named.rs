//! Endpoints of a balancer that say who they are, and can die and come back.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A TCP server that says its name and then echoes.
#[derive(Debug)]
pub struct Named {
    /// Where it listens, also after it died and came back.
    pub address: SocketAddr,
    name: String,
    accepted: Arc<AtomicU64>,
    serving: Option<JoinHandle<()>>,
}

impl Named {
    /// Starts one on a free port.
    ///
    /// # Panics
    /// When no port is free.
    pub async fn start(name: &str) -> Self {
        let mut named = Self {
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            name: name.to_owned(),
            accepted: Arc::default(),
            serving: None,
        };
        named.come_back().await;
        named
    }

    /// How many connections it has had.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(SeqCst)
    }

    /// Refuses connections from now on, and breaks those that it has.
    pub async fn die(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.abort();
            let _ = serving.await;
        }
    }

    /// Listens at its address again.
    ///
    /// # Panics
    /// When another has taken it.
    pub async fn come_back(&mut self) {
        let listener = TcpListener::bind(self.address).await;
        let listener = listener.expect("the port is free");
        self.address = listener.local_addr().expect("it is bound");
        let (name, accepted) = (self.name.clone(), self.accepted.clone());
        self.serving = Some(tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                accepted.fetch_add(1, SeqCst);
                connections.spawn(echo(stream, name.clone()));
            }
        }));
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.abort();
        }
    }
}

async fn echo(mut stream: TcpStream, name: String) -> io::Result<()> {
    stream.write_all(format!("{name}\n").as_bytes()).await?;
    let (mut from, mut to) = stream.split();
    tokio::io::copy(&mut from, &mut to).await?;
    to.shutdown().await
}

/// Who answers at an address: the name of a [`Named`]; none when the connection is refused or closed at once.
pub async fn who(address: SocketAddr) -> Option<String> {
    who_from(TcpStream::connect(address).await.ok()?).await
}

/// Who answers a connection.
pub async fn who_from(mut stream: TcpStream) -> Option<String> {
    let _ = stream.shutdown().await;
    let mut text = String::new();
    let read = tokio::time::timeout(Duration::from_secs(5), stream.read_to_string(&mut text));
    read.await.ok()?.ok()?;
    let name = text.trim_end();
    (!name.is_empty()).then(|| name.to_owned())
}
