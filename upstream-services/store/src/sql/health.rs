//! Whether a database answers: a circuit breaker.
//!
//! After [`FAILURES`] statements in a row without an answer nobody waits for the database any more; then one
//! statement a [`PAUSE`] finds out whether it is back.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::clock::now;

/// The circuit breaker of one database.
#[derive(Debug, Default)]
pub(crate) struct Health {
    failures: AtomicU32,
    /// When the next may find out, by [`now`]; 0 while it answers.
    next: AtomicU64,
    /// When a statement had no answer last, by [`now`]; 0 before the first.
    last: AtomicU64,
    trips: AtomicU64,
}

/// So many without an answer are enough.
const FAILURES: u32 = 5;
/// Between two that find out whether it is back.
const PAUSE: Duration = Duration::from_millis(500);

impl Health {
    /// Whether a statement may be sent.
    pub(crate) fn allows(&self) -> bool {
        self.allows_at(now())
    }

    fn allows_at(&self, now: u64) -> bool {
        let next = self.next.load(Relaxed);
        if next == 0 {
            return true;
        }
        let later = now + PAUSE.as_millis() as u64;
        // One of all who ask at the same time.
        now >= next
            && self
                .next
                .compare_exchange(next, later, Relaxed, Relaxed)
                .is_ok()
    }

    /// Whether it answers, as far as is known.
    pub(crate) fn is_well(&self) -> bool {
        self.next.load(Relaxed) == 0
    }

    /// Whether it has left a statement without an answer lately.
    pub(crate) fn was_silent_within(&self, time: Duration) -> bool {
        let last = self.last.load(Relaxed);
        last > 0 && last + time.as_millis() as u64 + 1 >= now()
    }

    /// How often it has ceased to answer.
    pub(crate) fn trips(&self) -> u64 {
        self.trips.load(Relaxed)
    }

    /// It has answered.
    pub(crate) fn answered(&self) {
        self.failures.store(0, Relaxed);
        self.next.store(0, Relaxed);
    }

    /// It has not.
    pub(crate) fn silent(&self) {
        self.silent_at(now());
    }

    fn silent_at(&self, now: u64) {
        self.last.store(now, Relaxed);
        if self.failures.fetch_add(1, Relaxed) + 1 < FAILURES {
            return;
        }
        let later = now + PAUSE.as_millis() as u64;
        if self.next.swap(later, Relaxed) == 0 {
            self.trips.fetch_add(1, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_five_in_a_row_one_a_pause_finds_out() {
        let health = Health::default();
        for _ in 0..3 {
            for _ in 0..4 {
                health.silent_at(10);
                assert!(health.allows_at(10));
            }
            health.answered();
        }
        for _ in 0..5 {
            health.silent_at(10);
        }
        assert!(!health.allows_at(10) && !health.is_well());
        assert!(health.allows_at(510), "one");
        assert!(!health.allows_at(511), "and no other");
        health.silent_at(520);
        assert!(!health.allows_at(1019));
        assert!(health.allows_at(1020));
        health.answered();
        assert!(health.allows_at(1021) && health.allows_at(1022));
        assert_eq!(health.trips(), 1);
    }
}
