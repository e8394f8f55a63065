//! When the connections of an endpoint, or of a process that leaves, are closed: spread over a time, never all at once.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;

/// Whether connections are to be closed, and who has to be told.
#[derive(Debug, Default)]
pub struct Draining {
    /// Whether there is a time: what every connection looks at whenever it moves something.
    begun: AtomicBool,
    /// The turn of the next member.
    next: AtomicU64,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    time: Option<Time>,
    /// Whether that is the last word.
    settled: bool,
    members: FxHashMap<u64, Waker>,
}

#[derive(Clone, Copy, Debug)]
struct Time {
    from: Instant,
    within: Duration,
}

/// A connection that may have to be closed.
#[derive(Debug)]
pub struct Member {
    of: Arc<Draining>,
    turn: u64,
    /// By whom it is told.
    waker: Option<Waker>,
}

impl Draining {
    /// Has the connections closed within so long from now on, or no longer.
    pub fn set(&self, within: Option<Duration>, now: Instant) {
        if within.is_none() && !self.begun.load(Relaxed) {
            return;
        }
        self.change(&mut self.lock(), within, now);
    }

    /// The same, whatever is said afterwards: of what has left, a state that still knows it may say something else.
    pub fn settle(&self, within: Option<Duration>, now: Instant) {
        let mut inner = self.lock();
        self.change(&mut inner, within, now);
        inner.settled = true;
    }

    fn change(&self, inner: &mut Inner, within: Option<Duration>, now: Instant) {
        if inner.settled || inner.time.map(|time| time.within) == within {
            return;
        }
        let from = inner.time.map_or(now, |time| time.from);
        inner.time = within.map(|within| Time { from, within });
        self.begun.store(within.is_some(), Relaxed);
        inner.members.values().for_each(Waker::wake_by_ref);
    }

    /// One more connection.
    pub fn join(self: &Arc<Self>) -> Member {
        Member {
            of: self.clone(),
            turn: self.next.fetch_add(1, Relaxed),
            waker: None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Member {
    /// When it is to be closed, if it is; the task is woken when that changes.
    pub fn due(&mut self, context: &Context<'_>) -> Option<Instant> {
        let waker = context.waker();
        let known = self.waker.as_ref();
        if !known.is_some_and(|known| known.will_wake(waker)) {
            self.of.lock().members.insert(self.turn, waker.clone());
            self.waker = Some(waker.clone());
        }
        if !self.of.begun.load(Relaxed) {
            return None;
        }
        Some(self.of.lock().time?.of(self.turn))
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        if self.waker.is_some() {
            self.of.lock().members.remove(&self.turn);
        }
    }
}

impl Time {
    /// Turns in a row are far from each other, and any number of them is spread evenly (multiples of the golden ratio;
    /// Knuth, The Art of Computer Programming, 6.4). The first tenth is left out: what is short ends by itself.
    fn of(self, turn: u64) -> Instant {
        let parts = turn.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        let place = 0.1 + 0.9 * parts as f64 / f64::from(u32::MAX);
        self.from + self.within.mul_f64(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_left_is_closed_whatever_is_said_later() {
        let draining = Arc::new(Draining::default());
        let context = Context::from_waker(Waker::noop());
        let mut member = draining.join();
        let now = Instant::now();
        draining.settle(Some(Duration::from_secs(4)), now);
        let due = member.due(&context);
        assert!(due.is_some());
        draining.set(None, now);
        assert_eq!(member.due(&context), due);
    }

    #[test]
    fn connections_are_closed_evenly() {
        let draining = Arc::new(Draining::default());
        let context = Context::from_waker(Waker::noop());
        let mut members: Vec<_> = (0..1000).map(|_| draining.join()).collect();
        let mut dues = |from: Instant| -> Vec<u128> {
            let due = members.iter_mut().filter_map(|member| member.due(&context));
            due.map(|due| (due - from).as_millis()).collect()
        };
        let start = Instant::now();
        assert!(dues(start).is_empty());
        draining.set(Some(Duration::from_secs(10)), start);
        draining.set(
            Some(Duration::from_secs(10)),
            start + Duration::from_secs(5),
        );
        let due = dues(start);
        for tenth in 1..10 {
            let range = tenth * 1000..(tenth + 1) * 1000;
            let count = due.iter().filter(|due| range.contains(*due)).count();
            assert!((105..=117).contains(&count), "{tenth}: {count}");
        }
        draining.set(None, start);
        assert!(dues(start).is_empty());
        drop(members);
        assert!(draining.lock().members.is_empty());
    }
}
