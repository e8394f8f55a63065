//! How many transfers to others run, over all and for each client.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chassis::net::client_network;

use super::rules::OutgoingLimits;

/// Counts the transfers that run.
#[derive(Clone, Debug, Default)]
pub(super) struct Slots(Arc<Mutex<Running>>);

#[derive(Debug, Default)]
struct Running {
    all: u32,
    by_client: HashMap<IpAddr, u32>,
}

/// A transfer that runs; it counts until this is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    slots: Slots,
    client: IpAddr,
}

impl Slots {
    /// Lets a transfer begin, if there are not too many, neither over all nor for this client.
    pub(super) fn begin(&self, client: IpAddr, limits: &OutgoingLimits) -> Option<Slot> {
        let client = client_network(client);
        let mut running = self.lock();
        let own = running.by_client.get(&client).copied().unwrap_or_default();
        if running.all >= limits.concurrent || own >= limits.concurrent_per_client {
            return None;
        }
        running.all += 1;
        running.by_client.insert(client, own + 1);
        let slots = self.clone();
        Some(Slot { slots, client })
    }

    /// How many run.
    pub(super) fn running(&self) -> u32 {
        self.lock().all
    }

    fn lock(&self) -> MutexGuard<'_, Running> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut running = self.slots.lock();
        running.all = running.all.saturating_sub(1);
        if let Some(own) = running.by_client.get_mut(&self.client) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                running.by_client.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_client_leaves_places_for_others() {
        let limits = OutgoingLimits {
            concurrent: 3,
            concurrent_per_client: 2,
            rate: None,
        };
        let slots = Slots::default();
        let begin = |client: &str| slots.begin(client.parse().unwrap(), &limits);
        let first = begin("2001:db8::1");
        let second = begin("2001:db8::2");
        assert!(first.is_some() && second.is_some());
        assert!(begin("2001:db8::3").is_none(), "it has two");
        let third = begin("192.0.2.1");
        assert!(third.is_some());
        assert!(begin("192.0.2.2").is_none(), "three run");
        drop((first, third));
        assert_eq!(slots.running(), 1);
        assert!(begin("2001:db8::3").is_some());
    }
}
