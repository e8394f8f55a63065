//! Answers over UDP: a thread for each socket.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use arc_swap::Cache;

use super::Shared;
use super::mmsg::{BATCH, Batch, LONGEST_ANSWER, travel_whole};
use crate::answer::{Limits, Responded};
use crate::metrics::{Tally, Transport};
use crate::state::State;
use crate::transfer::{Asked, Reply, reply};
use crate::wire::QueryName;

/// Starts the thread of a socket. It ends soon after `closing` is set, and answers what waits first.
pub(super) fn start(
    number: usize,
    socket: UdpSocket,
    shared: Arc<Shared>,
    closing: Arc<AtomicBool>,
) -> io::Result<JoinHandle<()>> {
    let any_address = socket.local_addr()?.ip().is_unspecified();
    let thread = std::thread::Builder::new().name(format!("udp-{number}"));
    thread.spawn(move || match Batch::new(&socket, any_address) {
        Ok(batch) => Worker::new(socket, shared, batch).run(&closing),
        Err(error) => tracing::error!(%error, "no answers over UDP"),
    })
}

/// Answers so long go over any path in one piece (RFC 9715, appendix A).
const SAFE: u16 = 1232;

struct Worker {
    socket: UdpSocket,
    shared: Arc<Shared>,
    batch: Batch,
    name: QueryName,
    tally: Tally,
    /// Whether answers are never cut on their way; none when it was not said yet.
    whole: Option<bool>,
}

impl Worker {
    fn new(socket: UdpSocket, shared: Arc<Shared>, batch: Batch) -> Self {
        Self {
            socket,
            shared,
            batch,
            name: QueryName::default(),
            tally: Tally::default(),
            whole: None,
        }
    }

    /// The limits of a configuration.
    fn limits(&mut self, largest_udp: u16) -> Limits {
        let whole = Some(largest_udp <= SAFE);
        if self.whole != whole {
            self.whole = whole;
            if let Err(error) = travel_whole(&self.socket, largest_udp <= SAFE) {
                tracing::warn!(%error, "answers may be cut on their way");
            }
        }
        Limits {
            largest_udp: largest_udp.min(LONGEST_ANSWER as u16),
            tcp: false,
        }
    }

    fn run(mut self, closing: &AtomicBool) {
        let shared = self.shared.clone();
        let mut state = Cache::new(&shared.state);
        loop {
            let leaving = closing.load(Ordering::Relaxed);
            match self.batch.receive(&self.socket, leaving) {
                Ok(count) => {
                    let began = Instant::now();
                    // Whoever serves on takes the rest, where another process has the same socket.
                    let enough = leaving && count < BATCH;
                    let state = state.load();
                    let limits = self.limits(state.largest_udp);
                    self.answer(count, state, limits);
                    let took = began.elapsed() / count.max(1) as u32;
                    shared.pressure.ended(count as u64, took);
                    if enough {
                        return;
                    }
                }
                Err(error) if is_nothing(&error) => {
                    if leaving {
                        return;
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "cannot receive");
                    std::thread::sleep(std::time::Duration::from_millis(100));
                }
            }
        }
    }

    fn answer(&mut self, count: usize, state: &State, limits: Limits) {
        for at in 0..count {
            let Some((query, client, out)) = self.batch.query(at) else {
                continue;
            };
            // Nothing can be sent to port 0.
            let len = match client.port() {
                0 => 0,
                _ => {
                    let (snapshot, name) = (&state.snapshot, &mut self.name);
                    let mut outcome = snapshot.respond(query, client.ip(), limits, name, out);
                    if outcome.odd {
                        outcome = odd(&self.shared, state, query, client, limits, name, out);
                    }
                    self.tally.count(&outcome);
                    outcome.len
                }
            };
            self.batch.answer(at, len);
        }
        let sent = self.batch.send(&self.socket, count);
        self.shared
            .counts
            .add(Transport::Udp, &mut self.tally, sent.failed);
    }
}

/// Answers what is not a usual query.
#[cold]
fn odd(
    shared: &Shared,
    state: &State,
    packet: &[u8],
    client: SocketAddr,
    limits: Limits,
    name: &mut QueryName,
    out: &mut [u8],
) -> Responded {
    let asked = Asked {
        packet,
        client: client.ip(),
        limits,
    };
    match reply(shared, state, &asked, name, out) {
        Reply::Answer(outcome) => outcome,
        // Over UDP none begins.
        Reply::Transfer(_) => Responded::default(),
    }
}

/// Nothing came, or a signal did.
fn is_nothing(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), WouldBlock | TimedOut | Interrupted)
}
