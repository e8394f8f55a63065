//! Worker threads: each has one runtime, and its own socket of every listener.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use chassis::life::Life;
use chassis::net::{Listener, is_exhaustion};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::client::Accepted;
use super::limit::{Connections, Excess};
use super::listener::Listening;
use super::socket::{Queue, Socket};
use crate::proxy::Proxies;

/// The worker threads.
pub(crate) struct Workers {
    commands: Vec<mpsc::UnboundedSender<Listen>>,
    threads: Vec<JoinHandle<()>>,
    /// The connections of all.
    pub(crate) connections: Arc<Connections>,
}

/// A worker's own socket of a listener.
pub(super) struct Listen {
    pub(super) listening: Arc<Listening>,
    pub(super) socket: Listener,
    /// True once the listener is closed: its connections end after the next answer, which says so.
    pub(super) closed: watch::Receiver<bool>,
}

/// How long connections without a request may stay after they were told to end.
const LEAVE: Duration = Duration::from_millis(500);

/// How long nothing is accepted when there are no descriptors: trying at once would spin.
const PAUSE: Duration = Duration::from_millis(50);

/// Between two looks at how many connections are left.
const LOOK: Duration = Duration::from_millis(10);

impl Workers {
    /// Starts so many threads.
    ///
    /// # Errors
    /// When a thread or its runtime cannot be made.
    pub(crate) fn start(count: usize, proxies: Arc<Proxies>) -> io::Result<Self> {
        let connections = Arc::new(Connections::default());
        let mut commands = Vec::with_capacity(count);
        let mut threads = Vec::with_capacity(count);
        for number in 0..count {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            let (sender, receiver) = mpsc::unbounded_channel();
            let worker = Worker {
                proxies: proxies.clone(),
                connections: connections.clone(),
            };
            let thread = std::thread::Builder::new()
                .name(format!("worker-{number}"))
                .spawn(move || runtime.block_on(worker.run(receiver)))?;
            commands.push(sender);
            threads.push(thread);
        }
        Ok(Self {
            commands,
            threads,
            connections,
        })
    }

    pub(crate) fn count(&self) -> usize {
        self.commands.len()
    }

    pub(super) fn listen(&self, worker: usize, listen: Listen) {
        let sent = self.commands[worker].send(listen);
        debug_assert!(sent.is_ok(), "workers live as long as the process");
    }

    /// Waits while there is work, and a moment for who is told to go; the number of connections that were left.
    pub(crate) async fn drain(&self, limit: Duration, work: impl Fn() -> u64) -> usize {
        let deadline = Instant::now() + limit;
        let mut busy = Instant::now();
        loop {
            let left = self.connections.open();
            let now = Instant::now();
            if work() > 0 {
                busy = now;
            }
            // Who was told to go and asks for nothing has had its time: a silent HTTP/2
            // client would stay for ever.
            if left == 0 || now - busy >= LEAVE || now >= deadline {
                return left;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Ends the threads, and with them every connection that is left: unfinished answers by a reset.
    /// Whatever keeps a thread busy is not waited for.
    pub(crate) async fn end(&mut self) {
        self.commands.clear();
        let deadline = Instant::now() + LEAVE;
        while !self.threads.iter().all(JoinHandle::is_finished) && Instant::now() < deadline {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// After a hand-over: waits until no connection is left, at most `limit`, or until the process
    /// is to stop.
    ///
    /// Idle connections are not ended. A client may be sending a request at this very moment; its
    /// answer says `Connection: close`.
    pub(crate) async fn finish(&self, limit: Duration, life: &Life) {
        let idle = async {
            while self.connections.open() > 0 {
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::select! {
            () = idle => {}
            () = tokio::time::sleep(limit) => {
                let connections = self.connections.open();
                tracing::info!(connections, "the time of a replaced process is over");
            }
            () = life.draining() => {}
        }
    }
}

struct Worker {
    proxies: Arc<Proxies>,
    connections: Arc<Connections>,
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
            listening,
            socket,
            mut closed,
        } = listen;
        let name = || listening.current.load().name.clone();
        let queue = match Queue::new(socket) {
            Ok(queue) => queue,
            Err(error) => return tracing::error!(listener = &*name(), %error, "cannot accept"),
        };
        let mut closing = closed.clone();
        loop {
            let accepted = tokio::select! {
                accepted = queue.accept() => accepted,
                _ = closing.wait_for(|closing| *closing) => break,
            };
            match accepted {
                Ok((socket, peer)) => {
                    self.admit(&listening, socket, peer, &closed);
                    closed.mark_unchanged();
                }
                Err(error) if is_exhaustion(&error) => {
                    let counts = listening.current.load().counts.clone();
                    counts.refuse(Excess::NoDescriptors);
                    if may_log() {
                        tracing::error!(listener = &*name(), %error, "cannot accept, pausing");
                    }
                    tokio::time::sleep(PAUSE).await;
                }
                // The client has gone before it was its turn (accept(2)).
                Err(error) => tracing::debug!(listener = &*name(), %error, "not accepted"),
            }
        }
        // Whoever waits in the queue has been told by the kernel that it is connected.
        for (socket, peer) in queue.rest().unwrap_or_default() {
            self.admit(&listening, socket, peer, &closed);
        }
    }

    /// Serves a connection that is within the limits, and closes any other.
    fn admit(
        self: &Arc<Self>,
        listening: &Listening,
        socket: Socket,
        peer: Option<SocketAddr>,
        closed: &watch::Receiver<bool>,
    ) {
        let listener = listening.current.load_full();
        let address = peer.map(|peer| peer.ip());
        let admitted = self
            .connections
            .admit(&listener.counts, &listener.limits, address);
        match admitted {
            Ok(permit) => {
                let accepted = Accepted {
                    local: local(listening.bound.tcp(), &socket),
                    socket,
                    peer,
                    listener: listener.clone(),
                    closing: closed.clone(),
                };
                let proxies = self.proxies.clone();
                tokio::spawn(async move {
                    accepted.serve(proxies).await;
                    drop(permit);
                });
            }
            Err(excess) => listener.counts.refuse(excess),
        }
    }
}

/// What a client has connected to: the kernel knows, where the listener takes any address.
fn local(bound: Option<SocketAddr>, socket: &Socket) -> Option<SocketAddr> {
    let bound = bound?;
    match bound.ip().is_unspecified() {
        true => socket.local().or(Some(bound)),
        false => Some(bound),
    }
}

/// Whether it is a second since the last time.
fn may_log() -> bool {
    static LAST: Mutex<Option<Instant>> = Mutex::new(None);
    let now = Instant::now();
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    let due = last.is_none_or(|last| now - last >= Duration::from_secs(1));
    if due {
        *last = Some(now);
    }
    due
}
