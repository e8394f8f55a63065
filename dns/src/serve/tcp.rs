//! Queries over TCP (RFC 7766): each with its length in front, many over one connection.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;

use super::Shared;
use crate::answer::Limits;
use crate::config::TcpLimitsConfig;
use crate::metrics::{Tally, Transport};
use crate::transfer::{Asked, Outcome, Reply, Transfer, reply};
use crate::wire::{QueryName, rcode};

/// What a connection may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TcpLimits {
    pub(crate) connections: u32,
    pub(crate) connections_per_client: u32,
    pub(crate) idle: Duration,
    pub(crate) progress: Duration,
    pub(crate) queries: u32,
}

impl Default for TcpLimits {
    fn default() -> Self {
        Self::from(&TcpLimitsConfig::default())
    }
}

impl From<&TcpLimitsConfig> for TcpLimits {
    fn from(config: &TcpLimitsConfig) -> Self {
        Self {
            connections: *config.connections,
            connections_per_client: *config.connections_per_client,
            idle: *config.idle,
            progress: *config.progress,
            queries: *config.queries,
        }
    }
}

/// So much is read at once.
const CHUNK: usize = 4096;
/// Answers are sent when there are so many octets of them, or no whole query is left.
const FLUSH: usize = 64 * 1024;
/// After a failure to accept, above all for want of descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// Accepts connections until the listener is closed.
pub(super) async fn accept(
    listener: TcpListener,
    shared: Arc<Shared>,
    closed: watch::Receiver<bool>,
) {
    let mut closing = closed.clone();
    let mut closing = pin!(closing.wait_for(|closing| *closing));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = &mut closing => return,
        };
        match accepted {
            Ok((stream, client)) => {
                let limits = shared.state.load().tcp;
                match shared.clients.admit(client.ip(), &limits) {
                    Ok(permit) => {
                        let shared = shared.clone();
                        let closed = closed.clone();
                        tokio::spawn(async move {
                            let connection = Connection::new(stream, client, shared, limits);
                            if let Err(error) = connection.serve(closed).await {
                                tracing::debug!(%client, %error, "a connection broke");
                            }
                            drop(permit);
                        });
                    }
                    Err(refusal) => shared.counts.refuse(refusal),
                }
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

struct Connection {
    stream: TcpStream,
    client: SocketAddr,
    shared: Arc<Shared>,
    limits: TcpLimits,
    /// What has arrived and is not answered.
    received: Vec<u8>,
    answers: Vec<u8>,
    left: u32,
}

impl Connection {
    fn new(stream: TcpStream, client: SocketAddr, shared: Arc<Shared>, limits: TcpLimits) -> Self {
        Self {
            stream,
            client,
            shared,
            limits,
            received: Vec::new(),
            answers: Vec::new(),
            left: limits.queries,
        }
    }

    /// Answers queries in their order until the client goes, is too slow, or the listener is closed.
    async fn serve(mut self, mut closed: watch::Receiver<bool>) -> io::Result<()> {
        loop {
            let begun = !self.received.is_empty();
            let patience = match begun {
                true => self.limits.progress,
                false => self.limits.idle,
            };
            // What has begun gets the time that it may take, however little arrives at a time.
            let deadline = tokio::time::Instant::now() + patience;
            while !self.has_query() {
                let was_empty = self.received.is_empty();
                let more =
                    tokio::time::timeout_at(deadline, read(&mut self.stream, &mut self.received));
                let got = tokio::select! {
                    got = more => got,
                    _ = closed.wait_for(|closing| *closing), if was_empty => return Ok(()),
                };
                match got {
                    Ok(Ok(0)) | Err(_) => return Ok(()),
                    Ok(Ok(_)) => {}
                    Ok(Err(error)) => return Err(error),
                }
                if was_empty {
                    break;
                }
            }
            self.answer_all().await?;
            if self.left == 0 {
                return Ok(());
            }
        }
    }

    fn has_query(&self) -> bool {
        message(&self.received).is_some()
    }

    /// Answers every whole query that has arrived.
    async fn answer_all(&mut self) -> io::Result<()> {
        let mut at = 0;
        while let Some(query) = message(&self.received[at..]) {
            if self.left == 0 {
                break;
            }
            self.left -= 1;
            let end = at + 2 + query.len();
            let transfer = answer(&self.shared, query, self.client, &mut self.answers);
            at = end;
            if let Some(transfer) = transfer {
                self.transfer(*transfer).await?;
            }
            if self.answers.len() >= FLUSH {
                self.flush().await?;
            }
        }
        self.received.drain(..at);
        self.flush().await
    }

    /// Sends a zone after the answers before it.
    async fn transfer(&mut self, mut transfer: Transfer) -> io::Result<()> {
        let shared = self.shared.clone();
        let sent = async {
            while let Some(message) = transfer.next().map_err(io::Error::other)? {
                let length = (message.len() as u16).to_be_bytes();
                self.answers.extend_from_slice(&length);
                self.answers.extend_from_slice(&message);
                self.flush().await?;
                tokio::time::sleep(transfer.pause(message.len())).await;
            }
            io::Result::Ok(())
        };
        let sent = sent.await;
        shared.learned.told.count(match &sent {
            Ok(()) => transfer.sends(),
            Err(error) => {
                tracing::warn!(zone = transfer.zone(), client = %self.client, %error, "a transfer was cut");
                Outcome::Cut
            }
        });
        sent
    }

    /// Sends the answers; a client that does not take them in time is given up.
    async fn flush(&mut self) -> io::Result<()> {
        if self.answers.is_empty() {
            return Ok(());
        }
        let sent = timeout(self.limits.progress, self.stream.write_all(&self.answers)).await;
        self.answers.clear();
        self.answers.shrink_to(CHUNK);
        sent.map_err(|_| io::ErrorKind::TimedOut)?
    }
}

async fn read(stream: &mut TcpStream, into: &mut Vec<u8>) -> io::Result<usize> {
    into.reserve(CHUNK);
    stream.read_buf(into).await
}

/// The first whole message.
fn message(received: &[u8]) -> Option<&[u8]> {
    let [high, low, rest @ ..] = received else {
        return None;
    };
    rest.get(..usize::from(u16::from_be_bytes([*high, *low])))
}

/// Appends the answer to a query; nothing when it gets none. A transfer is to follow instead.
fn answer(
    shared: &Shared,
    query: &[u8],
    client: SocketAddr,
    answers: &mut Vec<u8>,
) -> Option<Box<Transfer>> {
    thread_local! {
        static SCRATCH: std::cell::RefCell<(Vec<u8>, QueryName)> =
            std::cell::RefCell::new((vec![0; usize::from(u16::MAX)], QueryName::default()));
    }
    let began = Instant::now();
    let transfer = SCRATCH.with_borrow_mut(|(out, name)| {
        let state = shared.state.load();
        let limits = Limits {
            largest_udp: state.largest_udp,
            tcp: true,
        };
        let client = client.ip().to_canonical();
        let mut outcome = state.snapshot.respond(query, client, limits, name, out);
        let mut transfer = None;
        if outcome.odd {
            let asked = Asked {
                packet: query,
                client,
                limits,
            };
            match reply(shared, &state, &asked, name, out) {
                Reply::Answer(answer) => outcome = answer,
                Reply::Transfer(begun) => {
                    // Counted as an answer, and sent as many.
                    outcome.code = rcode::NOERROR;
                    transfer = Some(begun);
                }
            }
        }
        let mut tally = Tally::default();
        tally.count(&outcome);
        shared.counts.add(Transport::Tcp, &mut tally, 0);
        if outcome.len > 0 && transfer.is_none() {
            answers.extend_from_slice(&(outcome.len as u16).to_be_bytes());
            answers.extend_from_slice(&out[..outcome.len]);
        }
        transfer
    });
    shared.pressure.ended(1, began.elapsed());
    transfer
}
