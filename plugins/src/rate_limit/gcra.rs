//! GCRA over a table of fixed size, without locks.
//!
//! Each key has one number, its theoretical arrival time (TAT). A request at
//! `now` conforms when `max(TAT, now) + interval - now <= burst * interval`;
//! then that sum is the new TAT (ITU-T I.371, the virtual scheduling form).
//! The table is a hash table of buckets with eight slots; nothing is ever
//! inserted beyond them, so no client can make it grow.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// A rate: one request each `interval`, and `burst` of them at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    interval: u64,
    window: u64,
}

impl Rate {
    pub(super) fn new(interval: Duration, burst: u32) -> Self {
        let interval = nanos(interval);
        Self {
            interval,
            window: interval.saturating_mul(burst.into()),
        }
    }
}

/// The outcome for one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Within,
    /// Within, and another active key was forgotten for it.
    WithinAfterEviction,
    /// Beyond the rate; it would be within after this time.
    Beyond {
        wait: Duration,
    },
}

pub(super) struct Table {
    buckets: Box<[Bucket]>,
}

#[derive(Default)]
#[repr(align(128))]
struct Bucket([Slot; SLOTS]);

/// A key's hash (0: empty) and its TAT in nanoseconds.
#[derive(Default)]
struct Slot {
    key: AtomicU64,
    tat: AtomicU64,
}

const SLOTS: usize = 8;

impl Table {
    /// A table for about so many keys.
    pub(super) fn new(keys: usize) -> Self {
        let buckets = Self::buckets(keys);
        Self {
            buckets: (0..buckets).map(|_| Bucket::default()).collect(),
        }
    }

    /// Whether it was made for this number of keys.
    pub(super) fn holds(&self, keys: usize) -> bool {
        self.buckets.len() == Self::buckets(keys)
    }

    fn buckets(keys: usize) -> usize {
        keys.div_ceil(SLOTS).next_power_of_two()
    }

    /// Counts a request of the key with this hash, `now` after the table's origin.
    pub(super) fn check(&self, hash: u64, rate: Rate, now: Duration) -> Verdict {
        let key = hash.max(1);
        let now = nanos(now);
        let at = usize::try_from(key >> 32).unwrap_or(0) & (self.buckets.len() - 1);
        let bucket = &self.buckets[at];
        loop {
            if let Some(slot) = bucket.find(key) {
                return slot.count(rate, now);
            }
            let Some((slot, evicted)) = bucket.claim(key, now) else {
                continue; // another thread took the slot, perhaps for the same key
            };
            return match slot.count(rate, now) {
                Verdict::Within if evicted => Verdict::WithinAfterEviction,
                verdict => verdict,
            };
        }
    }
}

impl Bucket {
    fn find(&self, key: u64) -> Option<&Slot> {
        self.0.iter().find(|slot| slot.key.load(Relaxed) == key)
    }

    /// Takes the slot that is nearest to its full allowance; true when its key was still active.
    /// None when another thread was faster.
    fn claim(&self, key: u64, now: u64) -> Option<(&Slot, bool)> {
        let of = |slot: &Slot| (slot.key.load(Relaxed), slot.tat.load(Relaxed));
        let ((old, tat), slot) = self
            .0
            .iter()
            .map(|slot| (of(slot), slot))
            .min_by_key(|((key, tat), _)| if *key == 0 { 0 } else { *tat })?;
        slot.key.compare_exchange(old, key, Relaxed, Relaxed).ok()?;
        let active = old != 0 && tat > now;
        if active {
            // A time that has passed counts as now anyhow; a later one is another key's.
            slot.tat.store(now, Relaxed);
        }
        Some((slot, active))
    }
}

impl Slot {
    fn count(&self, rate: Rate, now: u64) -> Verdict {
        let mut tat = self.tat.load(Relaxed);
        loop {
            let next = tat.max(now).saturating_add(rate.interval);
            let ahead = next - now;
            if ahead > rate.window {
                let wait = Duration::from_nanos(ahead - rate.window);
                return Verdict::Beyond { wait };
            }
            match self.tat.compare_exchange_weak(tat, next, Relaxed, Relaxed) {
                Ok(_) => return Verdict::Within,
                Err(current) => tat = current,
            }
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX / 2)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use proptest::prelude::*;

    /// Token buckets, kept exactly: what GCRA must agree with.
    #[derive(Default)]
    struct Reference(HashMap<u64, (f64, u64)>);

    impl Reference {
        fn admit(&mut self, key: u64, interval: u64, burst: u32, now: u64) -> bool {
            let (tokens, last) = self.0.entry(key).or_insert((f64::from(burst), now));
            *tokens = (*tokens + (now - *last) as f64 / interval as f64).min(f64::from(burst));
            *last = now;
            let admitted = *tokens >= 1.0 - 1e-9;
            if admitted {
                *tokens -= 1.0;
            }
            admitted
        }
    }

    proptest! {
        #[test]
        fn agrees_with_a_token_bucket(
            interval in 1u64..50,
            burst in 1u32..10,
            steps in prop::collection::vec((0u64..5, 0u64..100), 1..200),
        ) {
            let table = Table::new(1024);
            let mut reference = Reference::default();
            let rate = Rate::new(Duration::from_millis(interval), burst);
            let mut now = 0;
            for (key, pause) in steps {
                now += pause;
                let hash = ((key + 1) << 32) | (key + 1);
                let verdict = table.check(hash, rate, Duration::from_millis(now));
                let expected = reference.admit(key, interval, burst, now);
                prop_assert_eq!(verdict == Verdict::Within, expected, "at {} ms", now);
            }
        }

        #[test]
        fn waiting_as_told_is_enough(burst in 1u32..5, requests in 1usize..20) {
            let table = Table::new(64);
            let rate = Rate::new(Duration::from_millis(7), burst);
            let mut now = Duration::ZERO;
            for _ in 0..requests {
                if let Verdict::Beyond { wait } = table.check(9, rate, now) {
                    now += wait;
                    prop_assert_eq!(table.check(9, rate, now), Verdict::Within);
                }
            }
        }
    }

    #[test]
    fn threads_together_get_exactly_the_burst() {
        let table = Table::new(64);
        let rate = Rate::new(Duration::from_secs(3600), 1000);
        let admitted: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        let admit =
                            |_: &usize| table.check(7, rate, Duration::ZERO) == Verdict::Within;
                        (0..1000).filter(admit).count()
                    })
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .sum()
        });
        assert_eq!(admitted, 1000);
    }

    #[test]
    fn a_flood_of_keys_evicts_but_never_grows() {
        let table = Table::new(64);
        let rate = Rate::new(Duration::from_secs(60), 1);
        let evicted = (1..1000u64)
            .filter(|key| {
                let hash = key.wrapping_mul(0x9E37_79B9_7F4A_7C15);
                table.check(hash, rate, Duration::ZERO) == Verdict::WithinAfterEviction
            })
            .count();
        assert!(evicted > 800, "{evicted}");
    }
}
