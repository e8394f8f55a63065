//! An endpoint as the balancer sees it: what changes while connections come and go. It outlives reloads.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// An endpoint of a cluster.
#[derive(Debug)]
pub struct Endpoint {
    /// Where it listens.
    pub address: SocketAddr,
    weight: AtomicU32,
    well: AtomicBool,
    open: AtomicU32,
    /// Since when it takes connections; none while it takes none.
    since: Mutex<Option<Instant>>,
}

/// A connection to an endpoint, which counts until this is dropped.
#[derive(Debug)]
pub struct Lease(Arc<Endpoint>);

impl Endpoint {
    /// An endpoint that gets connections as soon as it is [`Self::set_well`].
    pub fn new(address: SocketAddr, weight: u32) -> Self {
        Self {
            address,
            weight: weight.into(),
            well: false.into(),
            open: 0.into(),
            since: Mutex::new(None),
        }
    }

    /// Its share of the connections; 0 drains it.
    pub fn weight(&self) -> u32 {
        self.weight.load(Relaxed)
    }

    /// Gives it another share. Tables have to be built anew after it.
    pub fn set_weight(&self, weight: u32, now: Instant) {
        let before = self.weight.swap(weight, Relaxed);
        if before == 0 || weight == 0 {
            self.take_part(now);
        }
    }

    /// Whether it is well, as far as is known.
    pub fn is_well(&self) -> bool {
        self.well.load(Relaxed)
    }

    /// Says whether it is well. Tables have to be built anew after it.
    pub fn set_well(&self, well: bool, now: Instant) {
        if self.well.swap(well, Relaxed) != well {
            self.take_part(now);
        }
    }

    fn take_part(&self, now: Instant) {
        let takes = self.is_well() && self.weight() > 0;
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        *since = takes.then(|| since.unwrap_or(now));
    }

    /// How many connections it has.
    pub fn open(&self) -> u32 {
        self.open.load(Relaxed)
    }

    /// Counts a connection.
    pub fn lease(self: &Arc<Self>) -> Lease {
        self.open.fetch_add(1, Relaxed);
        Lease(self.clone())
    }

    /// Its share at a moment, in parts of [`FULL`] of its weight: nothing while it is not well, and less than all
    /// for the time of `slow_start` after it begins to take connections.
    pub(super) fn share(&self, slow_start: Duration, now: Instant) -> u32 {
        let since = *self.since.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(since) = since else {
            return 0;
        };
        let age = now.saturating_duration_since(since);
        let parts = match age < slow_start {
            // In steps, each of which is a new table.
            true => (age.as_millis() * u128::from(FULL) / slow_start.as_millis().max(1)) as u32,
            false => FULL,
        };
        self.weight().saturating_mul(parts.clamp(1, FULL))
    }
}

/// The parts of a whole share.
pub(super) const FULL: u32 = 10;

impl Lease {
    /// Whose it is.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.0
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_grows_after_each_beginning() {
        let address = "192.0.2.1:80".parse().expect("it is an address");
        let endpoint = Endpoint::new(address, 3);
        let start = Instant::now();
        let slow = Duration::from_secs(10);
        let share = |seconds| endpoint.share(slow, start + Duration::from_secs(seconds));
        assert_eq!(share(100), 0, "nobody has said that it is well");
        endpoint.set_well(true, start);
        assert_eq!((share(0), share(5), share(10)), (3, 15, 30));
        endpoint.set_well(true, start + Duration::from_secs(50));
        assert_eq!(share(51), 30, "it was well already");
        endpoint.set_weight(0, start + Duration::from_secs(60));
        assert_eq!(share(61), 0);
        endpoint.set_weight(1, start + Duration::from_secs(70));
        assert_eq!((share(71), share(80)), (1, 10));
    }

    #[test]
    fn a_lease_counts_until_it_is_dropped() {
        let endpoint = Arc::new(Endpoint::new("192.0.2.1:80".parse().expect("it is one"), 1));
        let leases = [endpoint.lease(), endpoint.lease()];
        assert_eq!(endpoint.open(), 2);
        drop(leases);
        assert_eq!(endpoint.open(), 0);
    }
}
