//! An endpoint as the balancer sees it: what changes while connections come and go. It outlives reloads.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use chassis::health::Forced;
use chassis::telemetry::Cells;

use crate::draining::Draining;

/// An endpoint of a cluster.
#[derive(Debug)]
pub struct Endpoint {
    /// Where it listens.
    pub address: SocketAddr,
    /// As it is configured.
    configured: AtomicU32,
    /// As an operator has set it; [`UNSET`] when nobody has.
    set: AtomicU32,
    /// Connections at a time; 0 without a limit.
    limit: AtomicU32,
    /// What it was given.
    pub counts: EndpointCounts,
    /// When its connections are closed.
    pub draining: Arc<Draining>,
    /// What checks say.
    well: AtomicBool,
    /// What an operator says instead, as a [`Forced`].
    forced: AtomicU8,
    open: AtomicU32,
    /// From when on no flow stays with it; none while it is in the configuration.
    left: OnceLock<Instant>,
    /// Since when it takes connections; none while it takes none.
    since: Mutex<Option<Instant>>,
    known: Instant,
    /// Until when others are preferred, in milliseconds since it is known; 0 while it has not just failed.
    doubted: AtomicU64,
}

/// What an endpoint was given, since it is known.
#[derive(Debug)]
pub struct EndpointCounts(Cells);

/// A counter of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// Connections that were established.
    Connected,
    /// Attempts that failed.
    Failed,
    /// Times that it was passed over because it had as many connections as it may have.
    Full,
    /// Octets from clients.
    Up,
    /// Octets to clients.
    Down,
}

/// A connection to an endpoint, which counts until this is dropped.
#[derive(Debug)]
pub struct Lease(Arc<Endpoint>);

impl Endpoint {
    /// An endpoint that gets connections as soon as it is [`Self::set_well`].
    pub fn new(address: SocketAddr, weight: u32) -> Self {
        Self {
            address,
            configured: weight.into(),
            set: UNSET.into(),
            limit: 0.into(),
            counts: EndpointCounts(Cells::new(Counted::Down as usize + 1)),
            draining: Arc::default(),
            well: false.into(),
            forced: (Forced::Auto as u8).into(),
            open: 0.into(),
            left: OnceLock::new(),
            since: Mutex::new(None),
            known: Instant::now(),
            doubted: 0.into(),
        }
    }

    /// Its share of the connections; 0 drains it.
    pub fn weight(&self) -> u32 {
        self.set_weight_is()
            .unwrap_or_else(|| self.configured.load(Relaxed))
    }

    /// What an operator has set; none when it is as it is configured.
    pub fn set_weight_is(&self) -> Option<u32> {
        Some(self.set.load(Relaxed)).filter(|set| *set != UNSET)
    }

    /// Follows a configuration. Tables have to be built anew after it.
    pub fn configure(&self, weight: u32, limit: Option<u32>, now: Instant) {
        self.limit.store(limit.unwrap_or(0), Relaxed);
        let before = self.weight();
        self.configured.store(weight, Relaxed);
        self.weighed(before, now);
    }

    /// Gives it another share than the configured one, or that one again. Tables have to be built anew after it.
    pub fn set_weight(&self, weight: Option<u32>, now: Instant) {
        let before = self.weight();
        self.set.store(weight.unwrap_or(UNSET), Relaxed);
        self.weighed(before, now);
    }

    fn weighed(&self, before: u32, now: Instant) {
        if (before == 0) != (self.weight() == 0) {
            self.take_part(now);
        }
    }

    /// Whether it is well, as far as is known.
    pub fn is_well(&self) -> bool {
        match self.forced() {
            Forced::Up => true,
            Forced::Down => false,
            Forced::Auto => self.well.load(Relaxed),
        }
    }

    /// What it is whatever is found.
    pub fn forced(&self) -> Forced {
        let forced = self.forced.load(Relaxed);
        let all = [Forced::Up, Forced::Down];
        let set = all.into_iter().find(|one| *one as u8 == forced);
        set.unwrap_or_default()
    }

    /// Says whether it is found to be well. Tables have to be built anew after it.
    pub fn set_well(&self, well: bool, now: Instant) {
        let before = self.is_well();
        self.well.store(well, Relaxed);
        if self.is_well() != before {
            self.take_part(now);
        }
    }

    /// Says what it is whatever is found. Tables have to be built anew after it.
    pub fn force(&self, state: Forced, now: Instant) {
        let before = self.is_well();
        self.forced.store(state as u8, Relaxed);
        if self.is_well() != before {
            self.take_part(now);
        }
    }

    fn take_part(&self, now: Instant) {
        let takes = self.is_well() && self.weight() > 0;
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        *since = takes.then(|| since.unwrap_or(now));
    }

    /// It is in the configuration no more, and nobody checks it: what it may have of flows ends at this time.
    pub fn leave(&self, at: Instant) {
        // It does not come back: another that has its address is another endpoint.
        let _ = self.left.set(at);
    }

    /// Whether no flow is to stay with it.
    pub fn is_left(&self, now: Instant) -> bool {
        self.left.get().is_some_and(|at| *at <= now)
    }

    /// Whether a connection is to be tried with it: it has not just failed to take one. With some `patience`, which is how
    /// long a connection waits for it, one may find out after a pause.
    pub fn is_believed(&self, patience: Option<Duration>, now: Instant) -> bool {
        let until = self.doubted.load(Relaxed);
        if until == 0 {
            return true;
        }
        let Some(patience) = patience else {
            return false;
        };
        let next = self.since_known(now + patience + DOUBT);
        let claim = || self.doubted.compare_exchange(until, next, Relaxed, Relaxed);
        // One alone: others would but wait for what it finds out.
        self.since_known(now) >= until && claim().is_ok()
    }

    /// Prefers others for a moment: it did not take a connection.
    pub fn doubt(&self, now: Instant) {
        self.doubted.store(self.since_known(now + DOUBT), Relaxed);
    }

    /// It has taken a connection.
    pub fn believe(&self) {
        // It is read by every thread and seldom another one.
        if self.doubted.load(Relaxed) != 0 {
            self.doubted.store(0, Relaxed);
        }
    }

    fn since_known(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.known).as_millis() as u64
    }

    /// How many connections it has.
    pub fn open(&self) -> u32 {
        self.open.load(Relaxed)
    }

    /// Counts a connection; none when it has as many as it may have.
    pub fn lease(self: &Arc<Self>) -> Option<Lease> {
        let lease = Lease(self.clone());
        let open = self.open.fetch_add(1, Relaxed);
        let limit = self.limit.load(Relaxed);
        (limit == 0 || open < limit).then_some(lease)
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

    /// Its share where there is nobody better, whether it is well or not; nothing when an operator says that it is not.
    pub(super) fn share_anyway(&self) -> u32 {
        match self.forced() {
            Forced::Down => 0,
            Forced::Up | Forced::Auto => self.weight().saturating_mul(FULL),
        }
    }
}

/// The greatest weight: a Maglev table has some slots for each part of it.
pub const HEAVIEST: u32 = 1000;

/// So long others are preferred to an endpoint that has not taken a connection.
const DOUBT: Duration = Duration::from_secs(1);

/// The weight of an endpoint that nobody has set.
const UNSET: u32 = u32::MAX;

/// The parts of a whole share.
pub(super) const FULL: u32 = 10;

impl EndpointCounts {
    /// Counts.
    pub fn add(&self, what: Counted, amount: u64) {
        self.0.add(what as usize, amount);
    }

    /// What was counted.
    pub fn sum(&self, what: Counted) -> u64 {
        self.0.sum(what as usize)
    }
}

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
        endpoint.set_weight(Some(0), start + Duration::from_secs(60));
        assert_eq!(share(61), 0);
        endpoint.set_weight(Some(1), start + Duration::from_secs(70));
        assert_eq!((share(71), share(80)), (1, 10));
    }

    #[test]
    fn what_an_operator_says_goes_before_what_is_found() {
        let endpoint = Endpoint::new("192.0.2.1:80".parse().expect("it is one"), 1);
        let now = Instant::now();
        endpoint.force(Forced::Up, now);
        assert!(endpoint.is_well() && endpoint.share(Duration::ZERO, now) > 0);
        endpoint.set_well(false, now);
        assert!(endpoint.is_well());
        endpoint.force(Forced::Down, now);
        endpoint.set_well(true, now);
        assert!(!endpoint.is_well() && endpoint.share(Duration::ZERO, now) == 0);
        endpoint.force(Forced::Auto, now);
        assert!(endpoint.is_well() && endpoint.share(Duration::ZERO, now) > 0);
    }

    #[test]
    fn one_connection_at_a_time_finds_out_whether_an_endpoint_is_well_again() {
        let endpoint = Endpoint::new("192.0.2.1:80".parse().expect("it is one"), 1);
        let start = Instant::now();
        let after = |millis| start + Duration::from_millis(millis);
        let patience = Some(Duration::from_secs(2));
        assert!(endpoint.is_believed(patience, start));
        endpoint.doubt(start);
        assert!(!endpoint.is_believed(patience, after(900)));
        assert!(!endpoint.is_believed(None, after(1100)), "it has waited");
        assert!(endpoint.is_believed(patience, after(1100)));
        assert!(!endpoint.is_believed(patience, after(1200)), "one does");
        assert!(!endpoint.is_believed(patience, after(4000)));
        assert!(
            endpoint.is_believed(patience, after(4200)),
            "it never came back"
        );
        endpoint.believe();
        assert!(endpoint.is_believed(None, after(4300)));
    }

    #[test]
    fn a_lease_counts_until_it_is_dropped() {
        let endpoint = Arc::new(Endpoint::new("192.0.2.1:80".parse().expect("it is one"), 1));
        let leases = [endpoint.lease(), endpoint.lease()];
        assert_eq!(endpoint.open(), 2);
        endpoint.configure(1, Some(2), Instant::now());
        assert!(endpoint.lease().is_none());
        drop(leases);
        assert_eq!(endpoint.open(), 0);
        assert!(endpoint.lease().is_some());
    }
}
