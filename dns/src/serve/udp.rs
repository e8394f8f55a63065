//! Answers over UDP: a thread for each socket.

use std::io;
use std::net::{IpAddr, UdpSocket};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Instant, SystemTime};

use arc_swap::Cache;
use chassis::net::travel_whole;

use super::Shared;
use super::mmsg::{BATCH, Batch, LONGEST_ANSWER};
use crate::answer::{Limits, Pending, Responded};
use crate::guard::{Held, Verdict};
use crate::metrics::{Tally, Transport};
use crate::querylog::Event;
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
    thread.spawn(move || {
        let work = || match (Batch::new(&socket, any_address), socket.try_clone()) {
            (Ok(batch), Ok(socket)) => Worker::new(socket, shared.clone(), batch).run(&closing),
            (Err(error), _) | (_, Err(error)) => tracing::error!(%error, "no answers over UDP"),
        };
        // A fault of ours that a packet finds costs its batch, and not every later one: nothing outlives the worker.
        while catch_unwind(AssertUnwindSafe(&work)).is_err() {
            tracing::error!("a thread that answers over UDP has panicked, and begins anew");
            shared.counts.panicked();
        }
    })
}

/// Answers so long go over any path in one piece (RFC 9715, appendix A).
const SAFE: u16 = 1232;

struct Worker {
    socket: UdpSocket,
    shared: Arc<Shared>,
    batch: Batch,
    pending: Box<[Pending]>,
    tally: Tally,
    held: Held,
    /// Queries since the last one that was logged.
    unlogged: u32,
    /// Whether answers are never cut on their way; none when it was not said yet.
    whole: Option<bool>,
}

impl Worker {
    fn new(socket: UdpSocket, shared: Arc<Shared>, batch: Batch) -> Self {
        Self {
            socket,
            shared,
            batch,
            pending: (0..BATCH).map(|_| Pending::default()).collect(),
            tally: Tally::default(),
            held: Held::default(),
            unlogged: 0,
            whole: None,
        }
    }

    /// Sets the socket for answers of at most so many octets; how long they may be.
    fn largest(&mut self, largest_udp: u16) -> u16 {
        let whole = Some(largest_udp <= SAFE);
        if self.whole != whole {
            self.whole = whole;
            if let Err(error) = travel_whole(&self.socket, largest_udp <= SAFE) {
                tracing::warn!(%error, "answers may be cut on their way");
            }
        }
        largest_udp.min(LONGEST_ANSWER as u16)
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
                    self.answer(count, state, began);
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

    fn answer(&mut self, count: usize, state: &State, now: Instant) {
        let largest = self.largest(state.largest_udp);
        let guard = &state.guard;
        let limits = guard.limits(largest);
        guard.begin(&mut self.held, now);
        let pending = &mut self.pending[..count];
        for (at, one) in pending.iter_mut().enumerate() {
            match self.batch.query(at) {
                // Nothing can be sent to port 0.
                Some((query, client)) if client.port() != 0 => one.read(query),
                _ => one.clear(),
            }
        }
        let looked_up = state.snapshot.look_up(pending);
        for at in 0..count {
            let Some((query, client, out)) = self.batch.exchange(at) else {
                continue;
            };
            let client = client.ip();
            let mut outcome = looked_up.respond(at, query, client, limits, out);
            if outcome.odd {
                outcome = odd(&self.shared, state, query, client, limits, out);
            }
            let verdict = guard.judge(&mut outcome, client, &mut self.held, out);
            self.tally.count(&outcome, verdict);
            if let Some(log) = &state.query_log {
                log.turn(&mut self.unlogged, |line| {
                    let event = Event {
                        client,
                        transport: Transport::Udp,
                        packet: query,
                        outcome: &outcome,
                        verdict,
                        chooser: state.chooser.as_deref(),
                    };
                    event.write(SystemTime::now(), line);
                });
            }
            let sent = if verdict == Verdict::Drop {
                0
            } else {
                outcome.len
            };
            self.batch.answer(at, sent);
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
    client: IpAddr,
    limits: Limits<'_>,
    out: &mut [u8],
) -> Responded {
    let asked = Asked {
        packet,
        client,
        limits,
        // Those over UDP are of one message.
        takes_transfers: true,
    };
    match reply(shared, state, &asked, &mut QueryName::default(), out) {
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

#[cfg(test)]
mod tests;
