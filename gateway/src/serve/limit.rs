//! How many connections there may be: in all, of a listener, and of a client.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use crate::state::ListenerLimits;

/// The connections of the process.
#[derive(Debug)]
pub(crate) struct Connections {
    open: AtomicUsize,
    most: AtomicUsize,
}

/// The connections of a listener; they survive reloads with its name or address.
#[derive(Debug, Default)]
pub(crate) struct ListenerCounts {
    open: AtomicUsize,
    clients: Clients,
    /// By [`Excess`].
    refused: [AtomicU64; Excess::ALL.len()],
}

/// Why a connection was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Excess {
    /// The process has as many as it may.
    All,
    /// The listener has as many as it may.
    Listener,
    /// The client has as many as it may.
    Client,
    /// The process, or the machine, has no descriptor or memory left; counted once a pause.
    NoDescriptors,
}

/// A connection is counted for as long as its permit lives.
#[derive(Debug)]
pub(crate) struct Permit {
    all: Arc<Connections>,
    listener: Arc<ListenerCounts>,
    client: Option<Client>,
}

/// Open connections by client. There is an entry only while there is a connection, so the table
/// is as bounded as they are.
#[derive(Debug, Default)]
struct Clients {
    hasher: RandomState,
    shards: [Mutex<HashMap<Client, u32>>; SHARDS],
}

/// What counts as one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Client {
    V4(u32),
    /// The upper half: a subscriber has at least a /64, and all of its addresses (RFC 6177).
    V6(u64),
}

const SHARDS: usize = 16;

impl Default for Connections {
    fn default() -> Self {
        Self {
            open: AtomicUsize::new(0),
            most: AtomicUsize::new(usize::MAX),
        }
    }
}

impl Connections {
    /// Counts a connection, if it is within all limits.
    pub(super) fn admit(
        self: &Arc<Self>,
        listener: &Arc<ListenerCounts>,
        limits: &ListenerLimits,
        peer: Option<IpAddr>,
    ) -> Result<Permit, Excess> {
        enter(&self.open, self.most.load(Relaxed), Excess::All)?;
        let most = limits.connections.unwrap_or(usize::MAX);
        enter(&listener.open, most, Excess::Listener).inspect_err(|_| leave(&self.open))?;
        let mut permit = Permit {
            all: self.clone(),
            listener: listener.clone(),
            client: None,
        };
        if let Some(client) = peer.map(Client::from) {
            let most = limits.per_client.unwrap_or(u32::MAX);
            if !listener.clients.enter(client, most) {
                return Err(Excess::Client);
            }
            permit.client = Some(client);
        }
        Ok(permit)
    }

    /// How many are open.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Relaxed)
    }

    /// Sets how many there may be; those that are open stay.
    pub(crate) fn set_limit(&self, most: Option<usize>) {
        self.most.store(most.unwrap_or(usize::MAX), Relaxed);
    }
}

impl ListenerCounts {
    /// How many are open.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Relaxed)
    }

    /// How many were refused for a reason.
    pub(crate) fn refused(&self, refusal: Excess) -> u64 {
        self.refused[refusal as usize].load(Relaxed)
    }

    /// Counts one that was refused.
    pub(super) fn refuse(&self, refusal: Excess) {
        self.refused[refusal as usize].fetch_add(1, Relaxed);
    }
}

impl Excess {
    pub(crate) const ALL: [Self; 4] =
        [Self::All, Self::Listener, Self::Client, Self::NoDescriptors];

    /// Its name in metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::All => "limit_all",
            Self::Listener => "limit_listener",
            Self::Client => "limit_client",
            Self::NoDescriptors => "no_descriptors",
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(client) = self.client {
            self.listener.clients.leave(client);
        }
        leave(&self.listener.open);
        leave(&self.all.open);
    }
}

impl Clients {
    fn enter(&self, client: Client, most: u32) -> bool {
        let mut shard = self.shard(client);
        let open = shard.entry(client).or_default();
        let admitted = *open < most;
        *open += u32::from(admitted);
        if *open == 0 {
            shard.remove(&client);
        }
        admitted
    }

    fn leave(&self, client: Client) {
        let mut shard = self.shard(client);
        if let Some(open) = shard.get_mut(&client) {
            *open -= 1;
            if *open == 0 {
                shard.remove(&client);
            }
        }
        // After a flood of clients the memory goes too.
        if shard.is_empty() {
            shard.shrink_to(16);
        }
    }

    fn shard(&self, client: Client) -> std::sync::MutexGuard<'_, HashMap<Client, u32>> {
        let hash = self.hasher.hash_one(client) as usize;
        let shard = &self.shards[hash % SHARDS];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl From<IpAddr> for Client {
    fn from(address: IpAddr) -> Self {
        // Where a mapped address comes from a header rather than from the socket.
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.to_bits()),
            IpAddr::V6(address) => Self::V6((address.to_bits() >> 64) as u64),
        }
    }
}

fn enter(open: &AtomicUsize, most: usize, refusal: Excess) -> Result<(), Excess> {
    if open.fetch_add(1, Relaxed) < most {
        return Ok(());
    }
    leave(open);
    Err(refusal)
}

fn leave(open: &AtomicUsize) {
    open.fetch_sub(1, Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admit(
        all: &Arc<Connections>,
        listener: &Arc<ListenerCounts>,
        limits: &ListenerLimits,
        peer: &str,
    ) -> Result<Permit, Excess> {
        all.admit(listener, limits, Some(peer.parse().unwrap()))
    }

    #[test]
    fn each_limit_holds_and_a_refusal_leaves_no_trace() {
        let all = Arc::new(Connections::default());
        all.set_limit(Some(4));
        let listener = Arc::default();
        let limits = ListenerLimits {
            connections: Some(3),
            per_client: Some(2),
        };
        let mut permits = Vec::new();
        for _ in 0..2 {
            permits.push(admit(&all, &listener, &limits, "10.0.0.1").unwrap());
        }
        for _ in 0..9 {
            let mapped = admit(&all, &listener, &limits, "::ffff:10.0.0.1");
            assert_eq!(mapped.unwrap_err(), Excess::Client);
        }
        permits.push(admit(&all, &listener, &limits, "10.0.0.2").unwrap());
        let fourth = admit(&all, &listener, &limits, "10.0.0.3");
        assert_eq!(fourth.unwrap_err(), Excess::Listener);
        let other = Arc::default();
        permits.push(admit(&all, &other, &limits, "10.0.0.3").unwrap());
        let fifth = admit(&all, &other, &limits, "10.0.0.4");
        assert_eq!(fifth.unwrap_err(), Excess::All);
        assert_eq!((all.open(), listener.open(), other.open()), (4, 3, 1));
        drop(permits);
        assert_eq!((all.open(), listener.open(), other.open()), (0, 0, 0));
        let shards = listener.clients.shards.iter();
        assert!(
            shards
                .map(|shard| shard.lock().unwrap().len())
                .sum::<usize>()
                == 0
        );
    }

    #[test]
    fn ipv6_clients_are_networks() {
        let client = |text: &str| Client::from(text.parse::<IpAddr>().unwrap());
        assert_eq!(client("2001:db8::1"), client("2001:db8::ffff:1"));
        assert_ne!(client("2001:db8:0:1::1"), client("2001:db8::1"));
        assert_eq!(client("::ffff:1.2.3.4"), client("1.2.3.4"));
    }
}
