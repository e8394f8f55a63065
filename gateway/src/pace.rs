//! How fast a request's body has to come, whatever the protocol.

use std::time::{Duration, Instant};

use crate::state::Timeouts;

/// So much of a body that nobody wants is read, in bytes: for the sake of the connection in HTTP/1,
/// and of clients that look for the answer only when they have sent all.
pub(crate) const DROP: u64 = 64 << 10;

/// The arrival of a body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    began: Instant,
    /// When the last piece came.
    last: Instant,
    /// Bytes so far, without framing.
    pub(crate) received: u64,
}

impl Pace {
    /// Of a body whose head was read at `now`.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            began: now,
            last: now,
            received: 0,
        }
    }

    /// Notes a piece.
    pub(crate) fn note(&mut self, bytes: usize, now: Instant) {
        self.received = self.received.saturating_add(bytes as u64);
        self.last = now;
    }

    /// When something passed last.
    pub(crate) fn last(&self) -> Instant {
        self.last
    }

    /// By when the next piece must have come: soon after the last, soon enough for the least rate
    /// on average, and before the time for all of it is over.
    pub(crate) fn due(&self, timeouts: &Timeouts) -> Instant {
        let grace = self.began + timeouts.body_read;
        let earned = self.received.checked_div(timeouts.body_rate);
        let by_rate = earned.and_then(|earned| grace.checked_add(Duration::from_secs(earned)));
        let next = self.last + timeouts.body_read;
        let all = timeouts.body.map(|all| self.began + all);
        [by_rate, all]
            .into_iter()
            .flatten()
            .fold(next, Instant::min)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_has_to_keep_coming() {
        let timeouts = Timeouts {
            body_read: Duration::from_secs(30),
            body_rate: 100,
            body: Some(Duration::from_secs(90)),
            ..Timeouts::default()
        };
        let now = Instant::now();
        let after = |seconds| now + Duration::from_secs(seconds);
        let mut pace = Pace::new(now);
        assert_eq!(pace.due(&timeouts), after(30));
        pace.note(500, after(29));
        let earned = "500 bytes earn five seconds";
        assert_eq!(pace.due(&timeouts), after(35), "{earned}");
        pace.note(100_000, after(33));
        assert_eq!(pace.due(&timeouts), after(63), "the next piece is due");
        pace.note(100_000, after(62));
        assert_eq!(pace.due(&timeouts), after(90), "the whole body is due");
    }
}
