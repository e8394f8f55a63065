//! How many may wait for a connection of one pool.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

/// Those who wait, up to a number.
#[derive(Debug)]
pub(crate) struct Queue {
    most: usize,
    waiting: AtomicUsize,
    refused: AtomicU64,
}

/// A place among those who wait, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place<'q>(&'q Queue);

impl Queue {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            most,
            waiting: AtomicUsize::new(0),
            refused: AtomicU64::new(0),
        }
    }

    /// Takes a place. When as many wait as may, only who would not wait gets one.
    pub(crate) fn enter(&self, would_wait: impl FnOnce() -> bool) -> Option<Place<'_>> {
        let before = self.waiting.fetch_add(1, Relaxed);
        let place = Place(self);
        if before >= self.most && would_wait() {
            self.refused.fetch_add(1, Relaxed);
            return None;
        }
        Some(place)
    }

    /// How many were sent away.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_wait_and_who_need_not_wait_always_gets_in() {
        let queue = Queue::new(2);
        let (one, two) = (queue.enter(|| true).unwrap(), queue.enter(|| true).unwrap());
        assert!(queue.enter(|| true).is_none());
        assert!(queue.enter(|| false).is_some());
        drop(one);
        let three = queue.enter(|| true).unwrap();
        assert!(queue.enter(|| true).is_none());
        drop((two, three));
        assert!(queue.enter(|| true).is_some());
        assert_eq!(queue.refused(), 2);
    }
}
