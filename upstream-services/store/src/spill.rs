//! How many reads a second a primary takes in place of its replicas.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

/// A budget of reads: a bucket that holds as many as a second gives.
#[derive(Debug)]
pub(crate) struct Spill {
    per_second: f64,
    left: Mutex<(f64, Instant)>,
    refused: AtomicU64,
}

impl Spill {
    pub(crate) fn new(per_second: u32) -> Self {
        let per_second = f64::from(per_second);
        Self {
            per_second,
            left: Mutex::new((per_second, Instant::now())),
            refused: AtomicU64::new(0),
        }
    }

    /// Takes one read out of the budget.
    pub(crate) fn take(&self) -> bool {
        self.take_at(Instant::now())
    }

    fn take_at(&self, now: Instant) -> bool {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = now.saturating_duration_since(left.1).as_secs_f64();
        left.0 = (left.0 + passed * self.per_second).min(self.per_second.max(1.0));
        left.1 = now;
        let enough = left.0 >= 1.0;
        match enough {
            true => left.0 -= 1.0,
            false => drop(self.refused.fetch_add(1, Relaxed)),
        }
        enough
    }

    /// How many reads were refused.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_second_gives_so_many_and_no_more_are_kept() {
        let spill = Spill::new(10);
        let taken = |after: Duration| {
            let now = Instant::now() + after;
            (0..50).filter(|_| spill.take_at(now)).count()
        };
        assert_eq!(taken(Duration::ZERO), 10);
        assert_eq!(taken(Duration::from_millis(510)), 5);
        assert_eq!(taken(Duration::from_secs(60)), 10);
        assert_eq!(spill.refused(), 40 + 45 + 40);
    }
}
