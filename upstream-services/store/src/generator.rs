//! Makes ids: unique in one data set, later ones never smaller in time.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::sqlite::WorkerNumber;
use crate::{Bucket, Id, Time};

/// Makes the ids of one process. No other process may use the same worker number on the same
/// data at the same time.
///
/// The generator counts *moments*: ten-millisecond ticks with a sequence of 32 below them. The
/// next moment is the clock's or the last one plus one, whichever is greater. So a full tick
/// borrows from the next one, and a clock that goes back is waited for without stopping:
/// ids keep to the last moment seen and count on from there. More than 3,200 ids a second for
/// long would make the ids' time run ahead of the clock; nothing else would happen.
///
/// Moments are reserved a second at a time in the worker number's file, before the first of them
/// is used. Who takes the number next starts after the reservation: no id comes twice, however
/// the process ended and whatever the clock did meanwhile.
#[derive(Debug)]
pub struct IdGenerator {
    number: u8,
    last: AtomicU64,
    /// Moments below this one may be used.
    reserved: AtomicU64,
    worker: Option<Mutex<WorkerNumber>>,
}

impl IdGenerator {
    /// A generator that reserves nothing: for tests and tools that keep no data.
    pub const fn new(number: u8) -> Self {
        Self {
            number,
            last: AtomicU64::new(0),
            reserved: AtomicU64::new(u64::MAX),
            worker: None,
        }
    }

    /// A generator that goes on where the last owner of the worker number ended at most.
    pub(crate) fn resuming(worker: WorkerNumber) -> Self {
        let floor = worker.floor();
        Self {
            number: worker.number,
            last: AtomicU64::new(floor),
            reserved: AtomicU64::new(floor),
            worker: Some(Mutex::new(worker)),
        }
    }

    /// The next id in a bucket.
    pub fn next(&self, bucket: Bucket, now: Time) -> Id {
        let clock = Id::moment(now);
        let later = |last: u64| clock.max(last + 1);
        // Relaxed: the number itself is all that is shared.
        let last = self
            .last
            .update(Ordering::Relaxed, Ordering::Relaxed, later);
        let moment = later(last);
        if moment >= self.reserved.load(Ordering::Acquire) {
            self.reserve(moment);
        }
        Id::assemble(moment, bucket, self.number)
    }

    /// Once a second at most: one small write to the file, without fsync.
    fn reserve(&self, moment: u64) {
        let Some(worker) = &self.worker else { return };
        let Ok(worker) = worker.lock() else { return };
        if moment < self.reserved.load(Ordering::Acquire) {
            return;
        }
        let reserved = moment + RESERVATION;
        if let Err(error) = worker.set_floor(reserved) {
            // A restart within the next second could then meet a used id, which its primary key
            // refuses. That is no reason to stop now.
            tracing::error!(%error, "ids could not be reserved");
        }
        self.reserved.store(reserved, Ordering::Release);
    }
}

/// A second of moments.
const RESERVATION: u64 = 100 << 5;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;

    const START: i64 = 1_800_000_000_000;

    proptest! {
        /// Whatever the clock does: no duplicate, and time never goes back.
        #[test]
        fn ids_are_unique_and_ordered_by_time(
            steps in proptest::collection::vec((-5_000i64..5_000, 0u16..4096, 1usize..80), 1..60),
        ) {
            let generator = IdGenerator::new(3);
            let mut seen = HashSet::new();
            let (mut clock, mut last) = (START, Time::from_millis(0));
            for (step, bucket, count) in steps {
                clock += step;
                for _ in 0..count {
                    let id = generator.next(Bucket::new(bucket), Time::from_millis(clock));
                    prop_assert!(seen.insert(id));
                    prop_assert_eq!(id.bucket().number(), bucket);
                    prop_assert!(id.time() >= last);
                    last = id.time();
                }
            }
        }
    }

    #[test]
    fn ids_follow_the_clock_when_it_moves_on() {
        let generator = IdGenerator::new(0);
        let bucket = Bucket::new(1);
        for _ in 0..100 {
            generator.next(bucket, Time::from_millis(START));
        }
        let later = Time::from_millis(START + 60_000);
        assert_eq!(generator.next(bucket, later).time(), later);
    }

    #[test]
    fn a_new_owner_of_a_worker_number_goes_on_after_the_old_one() {
        let dir = tempfile::TempDir::new().unwrap();
        let mut seen = HashSet::new();
        // The clock goes back with every restart.
        for restart in 0..5 {
            let generator = IdGenerator::resuming(WorkerNumber::take(dir.path()).unwrap());
            let now = Time::from_millis(START - restart * 60_000);
            for _ in 0..10_000 {
                assert!(seen.insert(generator.next(Bucket::new(1), now)));
            }
        }
    }

    #[test]
    fn threads_share_a_generator() {
        let generator = Arc::new(IdGenerator::new(0));
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let generator = generator.clone();
                let next = move |_| generator.next(Bucket::new(7), Time::from_millis(START));
                std::thread::spawn(move || (0..1_000).map(next).collect::<Vec<_>>())
            })
            .collect();
        let ids: Vec<Id> = threads
            .into_iter()
            .flat_map(|t| t.join().unwrap())
            .collect();
        assert_eq!(ids.iter().collect::<HashSet<_>>().len(), 4_000);
    }
}
