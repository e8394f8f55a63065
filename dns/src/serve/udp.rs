//! Answers over UDP: a thread for each socket.

use std::io;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use arc_swap::Cache;

use super::Shared;
use super::mmsg::{BATCH, Batch, LONGEST_ANSWER, travel_whole};
use crate::answer::{Limits, Pending, Snapshot};
use crate::metrics::{Tally, Transport};

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
    pending: Box<[Pending]>,
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
            pending: (0..BATCH).map(|_| Pending::default()).collect(),
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
                    self.answer(count, &state.snapshot, limits);
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

    fn answer(&mut self, count: usize, snapshot: &Snapshot, limits: Limits) {
        let pending = &mut self.pending[..count];
        for (at, one) in pending.iter_mut().enumerate() {
            match self.batch.query(at) {
                // Nothing can be sent to port 0.
                Some((query, client)) if client.port() != 0 => one.read(query),
                _ => one.clear(),
            }
        }
        let looked_up = snapshot.look_up(pending);
        for at in 0..count {
            let Some((query, client, out)) = self.batch.exchange(at) else {
                continue;
            };
            let outcome = looked_up.respond(at, query, client.ip(), limits, out);
            self.tally.count(&outcome);
            self.batch.answer(at, outcome.len);
        }
        let sent = self.batch.send(&self.socket, count);
        self.shared
            .counts
            .add(Transport::Udp, &mut self.tally, sent.failed);
    }
}

/// Nothing came, or a signal did.
fn is_nothing(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), WouldBlock | TimedOut | Interrupted)
}
