//! Endpoints whose machines have said that nobody listens there.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Who has refused a datagram of late: new sessions go elsewhere.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    /// Whether there is anybody at all: mostly there is not.
    any: AtomicBool,
    until: Mutex<Vec<(SocketAddr, Instant)>>,
}

/// So long nobody else tries it. Health checks, where there are any, find out in about as long.
const HOLD: Duration = Duration::from_secs(5);

impl Refusals {
    /// An endpoint has refused.
    pub(super) fn note(&self, endpoint: SocketAddr, now: Instant) {
        let mut until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        until.retain(|(known, until)| *known != endpoint && now < *until);
        until.push((endpoint, now + HOLD));
        self.any.store(true, Relaxed);
    }

    /// Whether it has of late.
    pub(super) fn has(&self, endpoint: SocketAddr, now: Instant) -> bool {
        if !self.any.load(Relaxed) {
            return false;
        }
        let mut until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        until.retain(|(_, until)| now < *until);
        self.any.store(!until.is_empty(), Relaxed);
        until.iter().any(|(known, _)| *known == endpoint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_forgotten() {
        let refusals = Refusals::default();
        let (one, other) = (([192, 0, 2, 1], 53).into(), ([192, 0, 2, 2], 53).into());
        let now = Instant::now();
        assert!(!refusals.has(one, now));
        refusals.note(one, now);
        assert!(refusals.has(one, now + HOLD / 2) && !refusals.has(other, now));
        assert!(!refusals.has(one, now + HOLD));
    }
}
