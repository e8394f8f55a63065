//! Where the latest session of each client went, whatever its port.
//!
//! A QUIC client that has a new address takes a connection id that it was told under encryption: nobody else can know it
//! (RFC 9000, 9.5). What is left to find its endpoint by is that its IP address is mostly the same.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use chassis::net::client_network;

/// The clients that have sessions. Shared by all threads of a listener; asked when a session begins or ends.
#[derive(Debug)]
pub(super) struct Clients<T> {
    shards: Box<[Mutex<Shard<T>>]>,
    hasher: RandomState,
}

type Shard<T> = HashMap<IpAddr, Client<T>>;

#[derive(Debug)]
struct Client<T> {
    sessions: u32,
    latest: T,
}

const SHARDS: usize = 64;

impl<T: Clone> Clients<T> {
    pub(super) fn new() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
        }
    }

    /// A session begins.
    pub(super) fn begin(&self, client: IpAddr, target: &T) {
        let client = client_network(client);
        let mut shard = self.shard(&client);
        let known = shard.entry(client).or_insert_with(|| Client {
            sessions: 0,
            latest: target.clone(),
        });
        known.sessions += 1;
        known.latest = target.clone();
    }

    /// A session has ended.
    pub(super) fn end(&self, client: IpAddr) {
        let client = client_network(client);
        let mut shard = self.shard(&client);
        if let Some(known) = shard.get_mut(&client) {
            known.sessions -= 1;
            if known.sessions == 0 {
                shard.remove(&client);
            }
        }
    }

    /// Where the client's latest session went, while it has one.
    pub(super) fn latest(&self, client: IpAddr) -> Option<T> {
        let client = client_network(client);
        Some(self.shard(&client).get(&client)?.latest.clone())
    }

    fn shard(&self, client: &IpAddr) -> MutexGuard<'_, Shard<T>> {
        let hash = self.hasher.hash_one(client) as usize;
        self.shards[hash % SHARDS]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("it is an address")
    }

    #[test]
    fn the_latest_is_known_while_there_is_a_session() {
        let clients = Clients::new();
        assert_eq!(clients.latest(ip("192.0.2.1")), None);
        clients.begin(ip("192.0.2.1"), &'a');
        clients.begin(ip("::ffff:192.0.2.1"), &'b');
        clients.begin(ip("2001:db8::1"), &'c');
        assert_eq!(clients.latest(ip("192.0.2.1")), Some('b'));
        assert_eq!(clients.latest(ip("192.0.2.2")), None);
        assert_eq!(
            clients.latest(ip("2001:db8::2")),
            Some('c'),
            "it is one network"
        );
        assert_eq!(clients.latest(ip("2001:db8:0:1::1")), None);
        clients.end(ip("192.0.2.1"));
        assert_eq!(clients.latest(ip("192.0.2.1")), Some('b'));
        clients.end(ip("192.0.2.1"));
        assert_eq!(clients.latest(ip("192.0.2.1")), None);
    }
}
