//! A thread for each socket of a listener.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::Cache;
use chassis::net::{receive_merged, tell_asked_address, travel_whole};
use rustix::event::epoll;
use rustix::io::Errno;
use rustix::time::Timespec;

use super::batch::{BATCH, Batch, Outgoing};
use super::counts::Counter;
use super::plan::Plan;
use super::sessions::{Moment, Sessions};
use super::table::{Path, Sender};
use super::{Shared, Stage};

/// Starts the thread of a socket. It ends after the listener was closed: with its last session, or when the time for
/// that is over. When it cannot be started, threads of the listener that were started before stay until it is closed.
///
/// # Errors
/// When there can be no thread, or no event queue.
pub fn start(number: usize, socket: UdpSocket, shared: Arc<Shared>) -> io::Result<JoinHandle<()>> {
    // Without it the kernel only merges nothing.
    let _ = receive_merged(&socket);
    let worker = Worker::new(number, &socket, shared.clone())?;
    let thread = std::thread::Builder::new().name(format!("datagram-{number}"));
    let threads = shared.clone();
    let started = thread.spawn(move || {
        let mut next = Some(worker);
        while let Some(worker) = next.take() {
            // A fault of ours that a datagram finds costs the sessions of its thread, and not every later one.
            if catch_unwind(AssertUnwindSafe(|| worker.run())).is_ok() {
                return;
            }
            tracing::error!("a thread that carries datagrams has panicked, and begins anew");
            next = Worker::new(number, &socket, shared.clone())
                .inspect_err(|error| tracing::error!(%error, "no datagrams are taken"))
                .ok();
        }
        // A successor is not to wait for what it has to say.
        shared.threads.fetch_sub(1, Relaxed);
    })?;
    threads.threads.fetch_add(1, Relaxed);
    Ok(started)
}

struct Worker {
    number: usize,
    socket: UdpSocket,
    /// What it is bound to.
    bound: SocketAddr,
    shared: Arc<Shared>,
    epoll: Arc<OwnedFd>,
    batch: Batch,
    sessions: Sessions,
    /// What is in the batch and goes to clients.
    answers: Vec<Outgoing>,
    /// Whether the address that was asked is told, and answers leave from there.
    any_address: bool,
    /// Whether the socket was set for QUIC.
    whole: bool,
    /// Since when the listener is closed.
    closed: Option<Instant>,
    /// Whether a successor knows of the sessions.
    told: bool,
    swept: Instant,
    /// Whether there were more than are ended at a time.
    behind: bool,
}

/// The listener's socket among those that have events; others have numbers of sessions.
const LISTENER: u64 = 0;
/// That the listener's stage has changed.
const CHANGED: u64 = u32::MAX as u64;
/// Events that are taken at a time.
const EVENTS: usize = 64;
/// So often the thread looks up when nothing happens.
const LOOK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 200_000_000,
};
/// So often it looks for sessions that were quiet for too long.
const SWEEP: Duration = Duration::from_millis(100);
/// After a failure that trying at once would meet again.
const PAUSE: Duration = Duration::from_millis(10);

impl Worker {
    fn new(number: usize, socket: &UdpSocket, shared: Arc<Shared>) -> io::Result<Self> {
        let bound = socket.local_addr()?;
        let any_address = bound.ip().is_unspecified() || shared.plan.load().transparent;
        if any_address {
            tell_asked_address(socket)?;
        }
        let epoll = Arc::new(epoll::create(epoll::CreateFlags::CLOEXEC)?);
        let data = epoll::EventData::new_u64(LISTENER);
        epoll::add(&*epoll, socket, data, epoll::EventFlags::IN)?;
        let data = epoll::EventData::new_u64(CHANGED);
        epoll::add(&*epoll, &shared.changed, data, epoll::EventFlags::IN)?;
        Ok(Self {
            number,
            socket: socket.try_clone()?,
            bound,
            sessions: Sessions::new(shared.clone(), epoll.clone()),
            shared,
            epoll,
            batch: Batch::new(),
            answers: Vec::with_capacity(BATCH),
            any_address,
            whole: false,
            closed: None,
            told: false,
            swept: Instant::now(),
            behind: false,
        })
    }

    fn run(mut self) {
        let shared = self.shared.clone();
        let inherited = Moment {
            plan: &shared.plan.load_full(),
            stage: Stage::Open,
            now: Instant::now(),
        };
        self.sessions.adopt(self.number, inherited);
        let mut plan = Cache::new(&shared.plan);
        let mut events = Vec::with_capacity(EVENTS);
        loop {
            events.clear();
            let spare = rustix::buffer::spare_capacity(&mut events);
            match epoll::wait(&*self.epoll, spare, Some(&self.patience())) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => {
                    tracing::error!(%error, "cannot wait for datagrams");
                    std::thread::sleep(PAUSE);
                }
            }
            let moment = Moment {
                plan: plan.load(),
                stage: shared.stage(),
                now: Instant::now(),
            };
            self.set_for(moment.plan);
            if self.is_over(moment) {
                return;
            }
            for event in &events {
                match event.data.u64() {
                    CHANGED => {}
                    LISTENER if moment.stage == Stage::Replaced => {}
                    LISTENER => self.take_up(moment),
                    token => self.take_down(token, moment),
                }
            }
            self.answer();
            self.sessions.make_room(moment);
            self.sweep(moment);
        }
    }

    /// How long it waits for something to happen.
    fn patience(&self) -> Timespec {
        match self.behind {
            true => Timespec::default(),
            false => LOOK,
        }
    }

    /// Ends sessions that were quiet for too long: some of them at each turn, between datagrams, until there are none.
    fn sweep(&mut self, moment: Moment<'_>) {
        if self.behind || moment.now.saturating_duration_since(self.swept) >= SWEEP {
            self.swept = moment.now;
            self.behind = !self.sessions.sweep(moment);
        }
    }

    /// Sets the socket for a plan.
    fn set_for(&mut self, plan: &Plan) {
        if plan.quic && !self.whole {
            self.whole = true;
            if let Err(error) = travel_whole(&self.socket, true) {
                tracing::warn!(%error, "datagrams to clients may be cut on their way");
            }
        }
    }

    /// Whether the thread is to end.
    fn is_over(&mut self, moment: Moment<'_>) -> bool {
        match moment.stage {
            Stage::Open => return false,
            Stage::Ended => return true,
            Stage::Draining | Stage::Replaced => {}
        }
        // It was heard. Where this was done before, it fails.
        let _ = epoll::delete(&*self.epoll, &self.shared.changed);
        let since = *self.closed.get_or_insert(moment.now);
        if moment.stage == Stage::Replaced && !self.told {
            self.told = true;
            // What waits is the successor's.
            let _ = epoll::delete(&*self.epoll, &self.socket);
            self.sessions.bequeath(self.number, moment);
        }
        self.sessions.table.is_empty()
            || moment.now.saturating_duration_since(since) >= moment.plan.drain
    }

    /// Takes what clients have sent.
    fn take_up(&mut self, moment: Moment<'_>) {
        self.answer();
        let slots = match self.batch.receive(&self.socket) {
            Ok(slots) => slots,
            Err(error) => return not_received(&error),
        };
        let mut goals = [None; BATCH];
        for slot in slots.clone() {
            goals[slot] = self.place(slot, moment);
        }
        let mut outgoing = [Outgoing { slot: 0, to: None }; BATCH];
        for slot in slots {
            let Some(goal) = goals[slot] else {
                continue;
            };
            let mut count = 0;
            for (slot, other) in goals.iter_mut().enumerate().skip(slot) {
                if *other == Some(goal) {
                    *other = None;
                    outgoing[count].slot = slot;
                    count += 1;
                }
            }
            // It may have ended for another meanwhile.
            match self.sessions.of_token(goal) {
                Some(at) => {
                    let outgoing = &outgoing[..count];
                    self.sessions.forward(&mut self.batch, at, outgoing, moment);
                }
                None => self.sessions.count(Counter::Stray, count as u64),
            }
        }
        self.batch.clear();
    }

    /// Where a slot comes from and was sent to.
    fn path(&self, slot: usize) -> Option<Path> {
        let client = self.batch.sender(slot)?;
        let mut service = self.bound;
        if self.any_address {
            service.set_ip(self.batch.asked(slot)?);
        }
        Some(Path { client, service })
    }

    /// The token of the session that a slot is for; none when it is dropped, or was sent.
    fn place(&mut self, slot: usize, moment: Moment<'_>) -> Option<u64> {
        let path = self.path(slot);
        let Self {
            batch, sessions, ..
        } = self;
        let Some(path) = path else {
            sessions.count(Counter::Stray, batch.count(slot));
            return None;
        };
        let at = if !moment.plan.quic {
            let known = sessions.table.find(&path);
            known.or_else(|| sessions.begin_default(path, moment))?
        } else if sessions.are_of_one(&path, batch.datagrams(slot)) {
            let first = batch.datagrams(slot).next()?;
            sessions.of_short_header(path, first, moment)?
        } else {
            for datagram in batch.datagrams(slot) {
                sessions.steer(path, datagram, moment);
            }
            return None;
        };
        sessions.table.get(at).map(|session| session.token)
    }

    /// Takes what an endpoint has sent.
    fn take_down(&mut self, token: u64, moment: Moment<'_>) {
        let Some(at) = self.sessions.of_token(token) else {
            return;
        };
        if self.batch.used() == BATCH {
            self.answer();
        }
        let path = self.sessions.table.path(at);
        let Some(session) = self.sessions.table.get_mut(at) else {
            return;
        };
        let slots = match self.batch.receive(&session.socket) {
            Ok(slots) => slots,
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                return self.sessions.refused(at, moment);
            }
            // The path takes no datagrams as long as the last one: who has sent it finds out.
            Err(_) => return,
        };
        let asked = self.any_address.then(|| path.service.ip());
        for slot in slots.clone() {
            session.down += self.batch.octets(slot).len() as u64;
            self.answers.push(Outgoing {
                slot,
                to: Some((path.client, asked)),
            });
        }
        if moment.plan.quic {
            for slot in slots {
                self.sessions.learn(at, self.batch.datagrams(slot));
            }
        }
        self.sessions.table.touch(at, Sender::Endpoint, moment.now);
    }

    /// Sends what the batch has for clients, and empties it.
    fn answer(&mut self) {
        let mut rest = &self.answers[..];
        while !rest.is_empty() {
            let sent = self.batch.send(&self.socket, rest);
            let (done, left) = rest.split_at(sent.done);
            let (datagrams, octets) = self.batch.amount(done);
            let counts = &self.shared.counts;
            counts.add(Counter::Down, datagrams - sent.failed.min(datagrams));
            counts.add(Counter::OctetsDown, octets);
            counts.add(Counter::NotSent, sent.failed + u64::from(sent.refused));
            rest = left.get(usize::from(sent.refused)..).unwrap_or_default();
        }
        self.answers.clear();
        self.batch.clear();
    }
}

/// Nothing was there, or something is wrong that may last.
fn not_received(error: &io::Error) {
    use io::ErrorKind::{Interrupted, WouldBlock};
    if !matches!(error.kind(), WouldBlock | Interrupted) {
        tracing::error!(%error, "cannot receive");
        std::thread::sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests;
