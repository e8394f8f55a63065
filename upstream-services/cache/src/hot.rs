//! Which keys are asked for far more often than others.
//!
//! Space-Saving (Metwally, Agrawal and El Abbadi, 2005) over a sample of the look-ups: so few counters find every key
//! that has more than its share, whatever the number of keys. Counts are halved now and then, so that
//! what was hot yesterday is not.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

/// Finds hot keys.
pub(crate) struct Hot<K> {
    seen: AtomicU32,
    counters: Mutex<Counters<K>>,
}

struct Counters<K> {
    counts: HashMap<K, u32>,
    /// Of all samples since the counts began, halved with them.
    total: u32,
}

/// One look-up of so many is counted.
const SAMPLE: u32 = 16;
/// Keys that are counted at a time.
const COUNTERS: usize = 128;
/// A key is hot when it has one of so many look-ups.
const SHARE: u32 = 100;
/// Fewer samples say nothing; with twice as many the counts are halved.
const ENOUGH: u32 = 1 << 12;

impl<K: Clone + Eq + Hash> Hot<K> {
    pub(crate) fn new() -> Self {
        Self {
            seen: AtomicU32::new(0),
            counters: Mutex::new(Counters {
                counts: HashMap::with_capacity(COUNTERS),
                total: 0,
            }),
        }
    }

    /// Notes a look-up.
    pub(crate) fn note(&self, key: &K) {
        if self.seen.fetch_add(1, Relaxed).is_multiple_of(SAMPLE) {
            self.counters().note(key);
        }
    }

    /// Whether a key is hot now.
    pub(crate) fn is_hot(&self, key: &K) -> bool {
        let counters = self.counters();
        counters
            .counts
            .get(key)
            .is_some_and(|count| counters.is_hot(*count))
    }

    /// How many keys are hot now.
    pub(crate) fn count(&self) -> usize {
        let counters = self.counters();
        let counts = counters.counts.values();
        counts.filter(|count| counters.is_hot(**count)).count()
    }

    fn counters(&self) -> std::sync::MutexGuard<'_, Counters<K>> {
        self.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Clone + Eq + Hash> Counters<K> {
    fn note(&mut self, key: &K) {
        self.total += 1;
        if let Some(count) = self.counts.get_mut(key) {
            *count += 1;
        } else if self.counts.len() < COUNTERS {
            self.counts.insert(key.clone(), 1);
        } else {
            self.replace_least(key);
        }
        if self.total >= ENOUGH * 2 {
            self.total /= 2;
            self.counts.values_mut().for_each(|count| *count /= 2);
        }
    }

    /// A new key takes the place, and the count, of the least.
    fn replace_least(&mut self, key: &K) {
        let least = self.counts.iter().min_by_key(|(_, count)| **count);
        let Some((least, count)) = least.map(|(least, count)| (least.clone(), *count)) else {
            return;
        };
        self.counts.remove(&least);
        self.counts.insert(key.clone(), count + 1);
    }

    /// What a key took over from others is at most its part of all counters: less than is asked for here.
    fn is_hot(&self, count: u32) -> bool {
        self.total >= ENOUGH / 4 && count > self.total / SHARE + self.total / COUNTERS as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Look-ups of one key among so many others that all come once.
    fn asked(hot: &Hot<u32>, every: u32, from: u32, count: u32) {
        for number in from..from + count {
            for _ in 0..SAMPLE {
                // All of a sample are alike: which of them is counted does not matter.
                hot.note(&if number % every == 0 { 0 } else { number });
            }
        }
    }

    #[test]
    fn a_key_with_more_than_its_share_is_found_and_others_are_not() {
        let hot = Hot::new();
        asked(&hot, 20, 1, 20_000);
        assert!(hot.is_hot(&0));
        assert_eq!(hot.count(), 1);
    }

    #[test]
    fn nothing_is_hot_when_all_are_alike_or_little_was_asked() {
        let hot = Hot::new();
        asked(&hot, 2, 1, 100);
        assert!(!hot.is_hot(&0), "too few look-ups to tell");
        let hot = Hot::new();
        asked(&hot, 400, 1, 20_000);
        assert_eq!(hot.count(), 0);
    }

    #[test]
    fn what_was_hot_cools_down() {
        let hot = Hot::new();
        asked(&hot, 5, 1, 10_000);
        assert!(hot.is_hot(&0));
        asked(&hot, 1 << 20, 10_001, 60_000);
        assert!(!hot.is_hot(&0));
        assert_eq!(hot.count(), 0);
    }
}
