//! Sockets and threads.
//!
//! ```text
//! a thread for each core, with sockets of its own (SO_REUSEPORT) and a runtime of its own:
//! accept -> limits -> PROXY header -> name -> cluster -> TLS? -> connect -> PROXY header -> relay
//! ```
//!
//! Datagrams have threads of their own: see [`crate::datagram`].

mod accept;
mod beat;
mod connect;
mod connection;
mod datagrams;
mod ending;
mod estate;
mod first_bytes;
mod listeners;
mod room;
mod scarcity;
mod secured;
mod served;
mod sockets;
mod workers;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Instant;

use arc_swap::ArcSwap;
use chassis::telemetry::Pressure;

pub(crate) use self::ending::Ending;
pub(crate) use self::estate::{Estate, SESSIONS, ask};
pub(crate) use self::listeners::{Listeners, Plan};
pub(crate) use self::room::Room;
pub(crate) use self::workers::Workers;

use crate::direct_return::DirectReturn;
use crate::draining::Draining;
use crate::forwarding::Forwarding;
use crate::health::Health;
use crate::state::State;

/// What every thread and connection has a part in.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Where connections go.
    pub(crate) state: ArcSwap<State>,
    /// Which endpoints are well.
    pub(crate) health: Arc<Health>,
    /// What the kernel forwards.
    pub(crate) forwarding: Arc<Forwarding>,
    /// Connections over all listeners.
    pub(crate) open: Arc<Open>,
    /// When connections are closed because this process leaves.
    pub(crate) leaving: Arc<Draining>,
    /// The load of the process.
    pub(crate) pressure: Arc<Pressure>,
    /// What the kernel forwards in the mode `dr`, once a listener has it.
    pub(crate) direct_return: DirectReturn,
}

impl Shared {
    /// Lets the state that serves follow what its endpoints are now.
    pub(crate) fn follow(&self) {
        self.health.still(|| {
            let state = self.state.load();
            state.follow(Instant::now());
            self.direct_return.follow(&state);
        });
    }

    /// Lets a state serve in place of the one before: endpoints that both have take its weights at the same moment.
    pub(crate) fn replace(&self, state: State) {
        self.health.still(|| {
            let now = Instant::now();
            state.begin(now);
            state.succeed(&self.state.load(), now);
            self.state.store(Arc::new(state));
        });
    }
}

/// How many connections the process has.
#[derive(Debug)]
pub(crate) struct Open {
    count: AtomicU32,
    /// How many there may be when nobody says.
    room: AtomicU32,
}

/// A connection that counts until this is dropped.
#[derive(Debug)]
pub(crate) struct Seat(Arc<Open>);

impl Default for Open {
    fn default() -> Self {
        Self {
            count: 0.into(),
            room: u32::MAX.into(),
        }
    }
}

impl Open {
    /// Counts a connection; none when there are as many as there may be, by this limit or else by the room that there is.
    pub(crate) fn take(self: &Arc<Self>, limit: Option<u32>) -> Option<Seat> {
        let seat = Seat(self.clone());
        let open = self.count.fetch_add(1, Relaxed);
        (open < self.limit(limit)).then_some(seat)
    }

    /// How many there may be.
    pub(crate) fn limit(&self, limit: Option<u32>) -> u32 {
        limit.unwrap_or_else(|| self.room.load(Relaxed))
    }

    /// Says how much room there is.
    pub(crate) fn set_room(&self, room: u32) {
        self.room.store(room, Relaxed);
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u32 {
        self.count.load(Relaxed)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Relaxed);
    }
}
