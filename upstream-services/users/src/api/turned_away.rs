//! Says how many requests were turned away because of load: with a line for each, the log would be load as well.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

/// Counts, and tells once a second at most. What comes last is told with what comes next: the metrics know every request.
pub(super) struct TurnedAway {
    begin: Instant,
    /// When it was told last, in milliseconds after [`EVERY`] before the beginning.
    told: AtomicU64,
    count: AtomicU64,
}

impl TurnedAway {
    pub(super) fn new(begin: Instant) -> Self {
        Self {
            begin,
            told: AtomicU64::new(0),
            count: AtomicU64::new(0),
        }
    }

    /// One more; how many there were since they were told last, if that is to be told now.
    pub(super) fn count(&self, now: Instant) -> Option<u64> {
        self.count.fetch_add(1, Relaxed);
        let elapsed = now.duration_since(self.begin).as_millis();
        let now = u64::try_from(elapsed).unwrap_or(u64::MAX / 2) + EVERY;
        let told = self.told.load(Relaxed);
        if now < told + EVERY {
            return None;
        }
        // Somebody else tells it.
        self.told
            .compare_exchange(told, now, Relaxed, Relaxed)
            .ok()?;
        Some(self.count.swap(0, Relaxed))
    }
}

/// Milliseconds.
const EVERY: u64 = 1_000;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_first_is_told_at_once_and_then_how_many_once_a_second() {
        let begin = Instant::now();
        let turned_away = TurnedAway::new(begin);
        let count = |millis| turned_away.count(begin + Duration::from_millis(millis));
        assert_eq!(count(0), Some(1));
        for millis in 1..1_000 {
            assert_eq!(count(millis), None);
        }
        assert_eq!(count(1_000), Some(1_000));
        assert_eq!(count(1_500), None);
        assert_eq!(count(9_000), Some(2));
    }
}
