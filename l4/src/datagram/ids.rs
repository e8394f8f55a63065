//! Which endpoint a QUIC connection is at, by the connection ids that go over the wire unencrypted (RFC 8999).
//!
//! All threads of a listener share it, for the kernel hands a client that has a new address to any of them. It is
//! asked only for long headers, and for ids that are not among the latest of the client's session. An id that an
//! endpoint has told under encryption is not known at all: a client that uses one costs a look for each length of ids.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};
use std::sync::{PoisonError, RwLock};

use crate::sniff::{LONGEST_ID, short_header};

/// A connection id, not empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Id {
    length: u8,
    octets: [u8; LONGEST_ID],
}

impl Id {
    /// None when it is empty, which tells connections apart by nothing, or longer than the versions that are known
    /// have it.
    pub(super) fn read(octets: &[u8]) -> Option<Self> {
        if octets.is_empty() {
            return None;
        }
        let mut id = Self {
            length: octets.len() as u8,
            octets: [0; LONGEST_ID],
        };
        id.octets.get_mut(..octets.len())?.copy_from_slice(octets);
        Some(id)
    }

    pub(super) fn octets(&self) -> &[u8] {
        &self.octets[..usize::from(self.length)]
    }
}

/// Connection ids and what they lead to.
#[derive(Debug)]
pub(super) struct Ids<T> {
    shards: Box<[RwLock<Shard<T>>]>,
    /// How many ids of each length endpoints have chosen: in a short header nothing says how long its id is.
    lengths: [AtomicU32; LONGEST_ID + 1],
    count: AtomicUsize,
    /// Those of them that only clients have chosen.
    of_clients: AtomicUsize,
}

type Shard<T> = HashMap<Id, Pin<T>>;

#[derive(Debug)]
struct Pin<T> {
    target: T,
    sessions: u32,
    by_endpoint: bool,
}

const SHARDS: usize = 64;

impl<T: Clone + PartialEq> Ids<T> {
    pub(super) fn new() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            lengths: Default::default(),
            count: 0.into(),
            of_clients: 0.into(),
        }
    }

    /// Has an id lead to a target for as long as a session wants it, of at most `most` ids, of which clients have
    /// chosen half at most: they are strangers, and leave room for what endpoints choose. Whether it does: an id that
    /// leads elsewhere already goes on to do so.
    pub(super) fn pin(&self, id: Id, target: &T, by_endpoint: bool, most: usize) -> bool {
        let mut shard = self
            .shard(&id)
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(pin) = shard.get_mut(&id) {
            if pin.target != *target {
                return false;
            }
            pin.sessions += 1;
            if by_endpoint && !pin.by_endpoint {
                pin.by_endpoint = true;
                self.of_clients.fetch_sub(1, Relaxed);
                self.lengths[usize::from(id.length)].fetch_add(1, Relaxed);
            }
            return true;
        }
        if !take_place(&self.count, most) {
            return false;
        }
        if by_endpoint {
            self.lengths[usize::from(id.length)].fetch_add(1, Relaxed);
        } else if !take_place(&self.of_clients, most.div_ceil(2)) {
            self.count.fetch_sub(1, Relaxed);
            return false;
        }
        let pin = Pin {
            target: target.clone(),
            sessions: 1,
            by_endpoint,
        };
        shard.insert(id, pin);
        true
    }

    /// A session that has pinned an id is gone.
    pub(super) fn unpin(&self, id: &Id) {
        let mut shard = self
            .shard(id)
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let Some(pin) = shard.get_mut(id) else {
            return;
        };
        pin.sessions -= 1;
        if pin.sessions > 0 {
            return;
        }
        if pin.by_endpoint {
            self.lengths[usize::from(id.length)].fetch_sub(1, Relaxed);
        } else {
            self.of_clients.fetch_sub(1, Relaxed);
        }
        shard.remove(id);
        self.count.fetch_sub(1, Relaxed);
    }

    /// What an id leads to.
    pub(super) fn get(&self, id: &Id) -> Option<T> {
        let shard = self
            .shard(id)
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        shard.get(id).map(|pin| pin.target.clone())
    }

    /// The same for a datagram with a short header, whose id is as long as one that an endpoint has chosen.
    pub(super) fn get_short(&self, datagram: &[u8]) -> Option<(Id, T)> {
        // The longest first: a shorter one may be its beginning.
        (1..=LONGEST_ID)
            .rev()
            .filter(|length| self.lengths[*length].load(Relaxed) > 0)
            .filter_map(|length| Id::read(short_header(datagram, length)?))
            .find_map(|id| Some((id, self.get(&id)?)))
    }

    fn shard(&self, id: &Id) -> &RwLock<Shard<T>> {
        // The maps have keyed hashes; here nothing is at stake but how often threads meet.
        let sum = id.octets.iter().fold(0usize, |sum, octet| {
            sum.wrapping_mul(31).wrapping_add(usize::from(*octet))
        });
        &self.shards[sum % SHARDS]
    }
}

/// Counts one more; not when there are as many as there may be.
fn take_place(count: &AtomicUsize, most: usize) -> bool {
    let taken = count.fetch_add(1, Relaxed) < most;
    if !taken {
        count.fetch_sub(1, Relaxed);
    }
    taken
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(octets: &[u8]) -> Id {
        Id::read(octets).expect("it is one")
    }

    #[test]
    fn ids_are_neither_empty_nor_too_long() {
        assert_eq!(Id::read(&[]), None);
        assert_eq!(Id::read(&[1; 21]), None);
        assert_ne!(id(&[0]), id(&[0, 0]));
    }

    #[test]
    fn short_headers_are_read_by_the_lengths_that_endpoints_have() {
        let ids = Ids::new();
        assert!(ids.pin(id(&[7; 8]), &'c', false, 10));
        let datagram = [[0x40].as_slice(), &[7; 30]].concat();
        assert_eq!(
            ids.get_short(&datagram),
            None,
            "a client's is in no short header"
        );
        assert!(ids.pin(id(&[7; 5]), &'a', true, 10));
        assert!(ids.pin(id(&[7; 12]), &'b', true, 10));
        assert_eq!(ids.get_short(&datagram).map(|found| found.1), Some('b'));
        assert_eq!(
            ids.get_short(&datagram[..10]).map(|found| found.1),
            Some('a')
        );
        assert_eq!(ids.get_short(&[0x40]), None);
        ids.unpin(&id(&[7; 12]));
        assert_eq!(ids.get_short(&datagram).map(|found| found.1), Some('a'));
    }

    #[test]
    fn an_id_leads_to_one_target_until_its_last_session_is_gone() {
        let ids = Ids::new();
        let one = id(b"one");
        assert!(ids.pin(one, &1, true, 1));
        assert!(
            !ids.pin(one, &2, true, 1),
            "somebody else has chosen the same"
        );
        assert!(!ids.pin(id(b"other"), &1, true, 1), "there are too many");
        assert!(ids.pin(one, &1, true, 1));
        ids.unpin(&one);
        assert_eq!(ids.get(&one), Some(1));
        ids.unpin(&one);
        assert_eq!(ids.get(&one), None);
        assert!(ids.pin(id(b"other"), &1, true, 1), "there is room again");
    }

    #[test]
    fn what_clients_choose_leaves_room_for_endpoints() {
        let ids = Ids::new();
        let pinned = (1..=100).filter(|octet| ids.pin(id(&[*octet]), &1, false, 10));
        assert_eq!(pinned.count(), 5);
        // What the endpoint shows too is its own from then on.
        assert!(ids.pin(id(&[1]), &1, true, 10));
        assert!(ids.pin(id(&[6]), &1, false, 10));
        assert!(!ids.pin(id(&[7]), &1, false, 10));
        let pinned = (101..=200).filter(|octet| ids.pin(id(&[*octet]), &1, true, 10));
        assert_eq!(pinned.count(), 4);
    }

    proptest! {
        #[test]
        fn nothing_is_left_when_all_is_unpinned(pins in prop::collection::vec((0u8..6, 1usize..21, any::<bool>(), 0u8..3), 0..60)) {
            let ids = Ids::new();
            let mut held = Vec::new();
            for (octet, length, by_endpoint, target) in pins {
                let id = id(&vec![octet; length]);
                if ids.pin(id, &target, by_endpoint, 40) {
                    prop_assert_eq!(ids.get(&id), Some(target));
                    held.push(id);
                }
            }
            for id in held {
                ids.unpin(&id);
            }
            prop_assert!(ids.lengths.iter().all(|length| length.load(Relaxed) == 0));
            prop_assert_eq!(ids.count.load(Relaxed), 0);
            prop_assert_eq!(ids.of_clients.load(Relaxed), 0);
            prop_assert!(ids.shards.iter().all(|shard| shard.read().expect("nobody panics").is_empty()));
        }
    }
}
