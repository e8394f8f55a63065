//! Datagrams from clients to endpoints and back (mode `proxy`, UDP and QUIC).
//!
//! ```text
//! client --> listener's socket of this thread --recvmmsg--> Path (client, address of ours) --> Session
//!                                                              |                                  |
//!                      QUIC: connection id, or the name in its Initial packets            a socket of its own
//!                                                                                                 |
//! client <------------------- sendmmsg, from the address that was asked <-------------------- endpoint
//! ```
//!
//! The kernel spreads clients over the threads by their addresses: a session belongs to one thread, which takes no lock
//! and allocates nothing for a datagram of a session that is there, unless it has a connection id that is none of the
//! latest of that session. A QUIC client that has got another address may come to another thread: connection ids, which
//! all threads share, lead it to the same endpoint, by a session of its own. So the endpoint sees that the client has
//! moved, and makes sure that it is there (RFC 9000, 8.2).

mod batch;
mod bequest;
mod clients;
mod counts;
mod ids;
mod openings;
mod plan;
mod quic;
mod refusals;
mod session;
mod sessions;
mod table;
mod worker;

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use rustix::event::{EventfdFlags, eventfd};

pub use self::bequest::Bequest;
pub use self::counts::{Counter, Counts};
pub use self::plan::{Denial, End, Ended, Plan, Steer};
pub use self::table::Path;
pub use self::worker::start;

use self::bequest::Bequests;
use self::clients::Clients;
use self::ids::Ids;
use self::refusals::Refusals;
use self::session::Target;

/// What all threads of a listener have a part in.
pub struct Shared {
    /// How datagrams are treated. Sessions that are there keep their endpoints when it changes.
    pub plan: ArcSwap<Plan>,
    /// What became of them.
    pub counts: Arc<Counts>,
    stage: AtomicU8,
    open: AtomicUsize,
    ids: Ids<Arc<Target>>,
    clients: Clients<Arc<Target>>,
    refusals: Refusals,
    /// Of a predecessor, until threads take them.
    inherited: Mutex<Bequests>,
    /// Whether a session could not begin because there are too many.
    short: AtomicBool,
    /// For a successor.
    bequests: Mutex<Bequests>,
    threads: AtomicUsize,
    /// Threads are told through it that the stage has changed.
    changed: OwnedFd,
}

/// Whether a listener takes datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It does.
    Open,
    /// Only those of sessions that are there, until all have ended or the time for it is over.
    Draining,
    /// None: a successor has the sockets, and gets the sessions.
    Replaced,
    /// None, and all sessions end: others have its address.
    Ended,
}

impl Shared {
    /// Of a listener without sessions.
    ///
    /// # Errors
    /// When there are no descriptors left.
    pub fn new(plan: Plan, counts: Arc<Counts>) -> io::Result<Self> {
        Ok(Self {
            plan: ArcSwap::from_pointee(plan),
            counts,
            stage: (Stage::Open as u8).into(),
            open: 0.into(),
            ids: Ids::new(),
            clients: Clients::new(),
            refusals: Refusals::default(),
            inherited: Mutex::default(),
            short: false.into(),
            bequests: Mutex::default(),
            threads: 0.into(),
            changed: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        })
    }

    /// How many sessions there are.
    pub fn open(&self) -> usize {
        self.open.load(Relaxed)
    }

    /// Whether it takes datagrams.
    pub fn stage(&self) -> Stage {
        match self.stage.load(Relaxed) {
            0 => Stage::Open,
            1 => Stage::Draining,
            2 => Stage::Replaced,
            _ => Stage::Ended,
        }
    }

    /// Closes the listener; its threads end after their sessions.
    pub fn close(&self, stage: Stage) {
        self.stage.fetch_max(stage as u8, Relaxed);
        // It fails when it was told before.
        let _ = rustix::io::write(&self.changed, &1u64.to_ne_bytes());
    }
}
