//! Makes ids: unique in one data set, later ones never smaller in time.

use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

use crate::{Bucket, Error, Id, Time};

/// Makes the ids of one process. No other process may use the same worker number on the same
/// data at the same time.
///
/// The generator counts *moments*: ten-millisecond ticks with a sequence of 32 below them. The
/// next moment is the clock's or the last one plus one, whichever is greater. So a full tick
/// borrows from the next one, and a clock that goes back is waited for without stopping:
/// ids keep to the last moment seen and count on from there. More than 3,200 ids a second for
/// long would make the ids' time run ahead of the clock; nothing else would happen.
///
/// Moments are reserved before the first of them is used, where the worker number is kept. Who takes the number next
/// starts after the reservation: no id comes twice, however
/// the process ended and whatever the clocks did meanwhile.
#[derive(Debug)]
pub struct IdGenerator {
    counter: Mutex<Counter>,
    /// Told when an id was wanted and there were no moments left.
    spent: Notify,
}

#[derive(Debug)]
struct Counter {
    worker: u8,
    last: u64,
    /// Moments below this one may be used.
    reserved: u64,
    /// Reserves more, when it can be done at once.
    reserve: Option<Box<dyn Reserve>>,
    /// The last moment that was wanted in vain; 0 since more were lent.
    wanted: u64,
}

/// Keeps reservations.
pub(crate) trait Reserve: std::fmt::Debug + Send {
    /// Reserves all moments below this one.
    fn reserve(&mut self, below: u64) -> std::io::Result<()>;
}

impl IdGenerator {
    /// A generator that reserves nothing: for tests and tools that keep no data.
    pub const fn new(worker: u8) -> Self {
        Self::counting(Counter {
            worker,
            last: 0,
            reserved: u64::MAX,
            reserve: None,
            wanted: 0,
        })
    }

    /// A generator that goes on where the last owner of the worker number ended at most, and reserves a second at a
    /// time.
    pub(crate) fn resuming(worker: u8, floor: u64, reserve: Box<dyn Reserve>) -> Self {
        Self::counting(Counter {
            worker,
            last: floor,
            reserved: floor,
            reserve: Some(reserve),
            wanted: 0,
        })
    }

    /// A generator that makes no id before it is [lent](Self::lend) a worker number.
    pub(crate) const fn idle() -> Self {
        Self::counting(Counter {
            worker: 0,
            last: 0,
            reserved: 0,
            reserve: None,
            wanted: 0,
        })
    }

    const fn counting(counter: Counter) -> Self {
        Self {
            counter: Mutex::new(counter),
            spent: Notify::const_new(),
        }
    }

    /// Waits until an id is wanted and there are no moments left: the clock has gone past all that were lent, as that of a
    /// machine that was asleep does.
    pub(crate) async fn spent(&self) {
        self.spent.notified().await;
    }

    /// The last moment that was wanted in vain since more were lent; 0 if none was.
    pub(crate) fn wanted(&self) -> u64 {
        self.with(|counter| counter.wanted)
    }

    /// From here on ids are of this worker, from one moment on and below another.
    pub(crate) fn lend(&self, worker: u8, from: u64, below: u64) {
        self.with(|counter| {
            counter.worker = worker;
            counter.last = counter.last.max(from);
            counter.reserved = below;
            counter.wanted = 0;
        });
    }

    /// The next id in a bucket.
    ///
    /// # Errors
    /// [`Error::NoIds`] when no moments are reserved for this process.
    pub fn next(&self, bucket: Bucket, now: Time) -> Result<Id, Error> {
        let made = self.with(|counter| {
            let moment = Id::moment(now).max(counter.last + 1);
            if moment >= counter.reserved {
                counter.reserve(moment)?;
            }
            counter.last = moment;
            Ok(Id::assemble(moment, bucket, counter.worker))
        });
        if matches!(made, Err(Error::NoIds)) {
            self.spent.notify_one();
        }
        made
    }

    /// The time that the next id will have.
    pub(crate) fn time(&self, now: Time) -> Time {
        let next = self.with(|counter| Id::moment(now).max(counter.last + 1));
        Id::assemble(next, Bucket::new(0), 0).time()
    }

    fn with<T>(&self, work: impl FnOnce(&mut Counter) -> T) -> T {
        work(&mut self.counter.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Counter {
    /// Once a second at most.
    fn reserve(&mut self, moment: u64) -> Result<(), Error> {
        let Some(reserve) = self.reserve.as_mut() else {
            self.wanted = moment;
            return Err(Error::NoIds);
        };
        let reserved = moment + RESERVATION;
        if let Err(error) = reserve.reserve(reserved) {
            // A restart within the next second could then meet a used id, which its primary key
            // refuses. That is no reason to stop now.
            tracing::error!(%error, "ids could not be reserved");
        }
        self.reserved = reserved;
        Ok(())
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
    use crate::sql::sqlite::WorkerNumber;

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
                    let id = generator.next(Bucket::new(bucket), Time::from_millis(clock)).unwrap();
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
            generator.next(bucket, Time::from_millis(START)).unwrap();
        }
        let later = Time::from_millis(START + 60_000);
        assert_eq!(generator.next(bucket, later).unwrap().time(), later);
    }

    #[test]
    fn a_new_owner_of_a_worker_number_goes_on_after_the_old_one() {
        let dir = tempfile::TempDir::new().unwrap();
        let mut seen = HashSet::new();
        // The clock goes back with every restart.
        for restart in 0..5 {
            let generator = WorkerNumber::take(dir.path()).unwrap().generator();
            let now = Time::from_millis(START - restart * 60_000);
            for _ in 0..10_000 {
                assert!(seen.insert(generator.next(Bucket::new(1), now).unwrap()));
            }
        }
    }

    #[test]
    fn threads_share_a_generator() {
        let generator = Arc::new(IdGenerator::new(0));
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let generator = generator.clone();
                let next = move |_| {
                    generator
                        .next(Bucket::new(7), Time::from_millis(START))
                        .unwrap()
                };
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
