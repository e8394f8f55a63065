//! What the datagrams of a listener are treated by. Made anew with each reload.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::table::Path;
use crate::balance::Cluster;
use crate::sniff::ServerName;

/// How a listener treats datagrams.
pub struct Plan {
    /// Who may have a session, and where it goes.
    pub steer: Box<dyn Steer>,
    /// Whether it looks for names in QUIC.
    pub quic: bool,
    /// Whether endpoints see the client's address (`IP_TRANSPARENT`).
    pub transparent: bool,
    /// So long a session is kept without a datagram.
    pub idle: Duration,
    /// So long while its endpoint has never answered: there may be no such client at all.
    pub unanswered: Duration,
    /// So long a QUIC client may take for its ClientHello.
    pub opening: Duration,
    /// So long sessions are kept after the listener is closed.
    pub drain: Duration,
}

/// What is asked once a session.
pub trait Steer: Send + Sync {
    /// Lets a client have one more session, which counts until what is given is dropped. One that is `inherited` from
    /// a predecessor is not new.
    ///
    /// # Errors
    /// Why it may not.
    fn admit(&self, client: IpAddr, inherited: bool, now: Instant)
    -> Result<Box<dyn Send>, Denial>;

    /// Who gets the sessions for a name, or for none; none when nobody does.
    fn cluster(&self, name: Option<&ServerName>) -> Option<Arc<Cluster>>;

    /// A session has ended.
    fn ended(&self, _ended: &Ended<'_>) {}
}

/// Why a client may have no session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// This client may not.
    Client,
    /// There are too many: without another there would be room.
    Full,
}

/// A session that has ended.
#[derive(Clone, Copy, Debug)]
pub struct Ended<'a> {
    /// Whose it was.
    pub path: Path,
    /// Who had it last.
    pub endpoint: SocketAddr,
    /// What it was for, as far as the client has said.
    pub name: Option<&'a ServerName>,
    /// Octets from the client.
    pub up: u64,
    /// Octets to the client.
    pub down: u64,
    /// From its first datagram to its end.
    pub lasted: Duration,
    /// Why.
    pub end: End,
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// There was no datagram for too long.
    Idle,
    /// There were too many sessions, and the client of this one had not sent after an answer.
    Evicted,
    /// The listener was closed.
    Closed,
    /// It goes on in a successor.
    HandedOver,
}
