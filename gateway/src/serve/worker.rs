//! Worker threads: each has one runtime, and its own socket of every listener.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use pingora_core::apps::ServerApp;
use pingora_core::protocols::{ALPN, Stream};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::connection::Connection;
use super::h2::{self, Http2};
use crate::proxy::Proxies;

/// The worker threads.
pub(crate) struct Workers {
    commands: Vec<mpsc::UnboundedSender<Listen>>,
    connections: Arc<AtomicUsize>,
    proxies: Arc<Proxies>,
}

/// A worker's own socket of a listener.
pub(super) struct Listen {
    pub(super) name: Arc<str>,
    /// The bound address.
    pub(super) local: SocketAddr,
    pub(super) socket: TcpListener,
    /// True once the listener is closed: its connections end after the next answer, which says so.
    pub(super) closed: watch::Receiver<bool>,
}

/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// How long a client without TLS may be silent before it is known which HTTP it speaks.
const FIRST_BYTES: Duration = Duration::from_secs(60);

/// How long connections without a request may stay after they were told to end.
const LEAVE: Duration = Duration::from_millis(500);

impl Workers {
    /// Starts so many threads.
    ///
    /// # Errors
    /// When a thread or its runtime cannot be made.
    pub(crate) fn start(count: usize, proxies: Arc<Proxies>) -> io::Result<Self> {
        let connections = Arc::new(AtomicUsize::new(0));
        let mut commands = Vec::with_capacity(count);
        for number in 0..count {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            let (sender, receiver) = mpsc::unbounded_channel();
            let worker = Worker {
                proxies: proxies.clone(),
                connections: connections.clone(),
            };
            std::thread::Builder::new()
                .name(format!("worker-{number}"))
                .spawn(move || runtime.block_on(worker.run(receiver)))?;
            commands.push(sender);
        }
        Ok(Self {
            commands,
            connections,
            proxies,
        })
    }

    pub(crate) fn count(&self) -> usize {
        self.commands.len()
    }

    pub(super) fn listen(&self, worker: usize, listen: Listen) {
        let sent = self.commands[worker].send(listen);
        debug_assert!(sent.is_ok(), "workers live as long as the process");
    }

    /// Ends idle connections and waits for requests in flight; the number of connections that were left.
    pub(crate) async fn drain(&self, limit: Duration, in_flight: impl Fn() -> u64) -> usize {
        self.proxies.cleanup().await;
        let deadline = Instant::now() + limit;
        let mut busy = Instant::now();
        loop {
            let left = self.connections.load(Relaxed);
            let now = Instant::now();
            if in_flight() > 0 {
                busy = now;
            }
            // Who was told to go and asks for nothing has had its time: a silent HTTP/2
            // client would stay for ever.
            if left == 0 || now - busy >= LEAVE || now >= deadline {
                return left;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

struct Worker {
    proxies: Arc<Proxies>,
    connections: Arc<AtomicUsize>,
}

impl Worker {
    async fn run(self, mut commands: mpsc::UnboundedReceiver<Listen>) {
        let worker = Arc::new(self);
        while let Some(listen) = commands.recv().await {
            tokio::spawn(worker.clone().accept(listen));
        }
    }

    async fn accept(self: Arc<Self>, listen: Listen) {
        let Listen {
            name,
            local,
            socket,
            mut closed,
        } = listen;
        let socket = match tokio::net::TcpListener::from_std(socket) {
            Ok(socket) => socket,
            Err(error) => return tracing::error!(listener = &*name, %error, "cannot accept"),
        };
        let mut closing = closed.clone();
        loop {
            let accepted = tokio::select! {
                accepted = socket.accept() => accepted,
                _ = closing.wait_for(|closing| *closing) => return,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let connection =
                        self.clone()
                            .serve(name.clone(), stream, peer, local, closed.clone());
                    tokio::spawn(connection);
                    closed.mark_unchanged();
                }
                Err(error) => {
                    tracing::warn!(listener = &*name, %error, "cannot accept");
                    // Out of descriptors: accepting again at once would spin.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    async fn serve(
        self: Arc<Self>,
        name: Arc<str>,
        stream: TcpStream,
        peer: SocketAddr,
        local: SocketAddr,
        closed: watch::Receiver<bool>,
    ) {
        self.connections.fetch_add(1, Relaxed);
        let _guard = Guard(self.connections.clone());
        let _ = stream.set_nodelay(true);
        let Some((listener, proxy)) = self.proxies.of(&name) else {
            return;
        };
        let mut connection = Connection::new(stream, peer, local);
        let mut h2c = false;
        if listener.h2c && listener.acceptor.is_none() {
            match h2::prior_knowledge(&mut connection, FIRST_BYTES).await {
                Some(known) => h2c = known,
                None => return tracing::debug!(listener = &*name, %peer, "silent"),
            }
        }
        let stream: Stream = match &listener.acceptor {
            None => Box::new(connection),
            Some(acceptor) => {
                let handshake = acceptor.tls_handshake(connection);
                match tokio::time::timeout(HANDSHAKE, handshake).await {
                    Ok(Ok(stream)) => Box::new(stream),
                    Ok(Err(error)) => {
                        return tracing::debug!(listener = &*name, %peer, %error, "no TLS handshake");
                    }
                    Err(_) => {
                        return tracing::debug!(listener = &*name, %peer, "slow TLS handshake");
                    }
                }
            }
        };
        if h2c || matches!(stream.selected_alpn_proto(), Some(ALPN::H2)) {
            let proxy = proxy.clone();
            let http2 = Http2 {
                listener,
                proxy,
                closed,
            };
            http2.serve(stream).await;
        } else {
            proxy.process_new(stream, &closed).await;
        }
    }
}

/// Counts a connection while it lives.
struct Guard(Arc<AtomicUsize>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}
