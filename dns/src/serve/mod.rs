//! Sockets and threads.
//!
//! ```text
//! UDP: a thread for each socket; recvmmsg -> one snapshot -> answers -> sendmmsg
//! TCP: a task for each connection, on the control runtime; so are TLS and HTTP
//! ```

mod accept;
mod ahead;
mod client;
mod http;
mod leave;
mod listener;
mod mmsg;
mod proxy;
mod respond;
mod tcp;
mod udp;

use std::sync::Arc;

use arc_swap::ArcSwap;

pub(crate) use self::client::{Clients, Refusal};
pub(crate) use self::listener::{Listeners, Plan};
pub(crate) use self::tcp::TcpLimits;

use crate::chooser::SiteCounts;
use crate::health::Health;
use crate::learned::Learned;
use crate::metrics::Counts;
use crate::state::State;

/// What every thread and connection has a part in.
pub(crate) struct Shared {
    /// What is answered.
    pub(crate) state: ArcSwap<State>,
    /// Which endpoints are well.
    pub(crate) health: Arc<Health>,
    /// What was learned since the start.
    pub(crate) learned: Arc<Learned>,
    /// What was answered.
    pub(crate) counts: Counts,
    /// Which sites policies chose.
    pub(crate) sites: Arc<SiteCounts>,
    /// Who is connected.
    pub(crate) clients: Clients,
    /// The load of the process.
    pub(crate) pressure: Arc<chassis::telemetry::Pressure>,
}
