//! What is known of a name of others: what it was answered last, for how long that counts, and when to ask again.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::compile::Resolving;

/// What was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// Sorted. None is an answer too: the name has no address of this family.
    pub(super) addresses: Vec<IpAddr>,
    pub(super) ttl: Duration,
}

/// What is known.
#[derive(Clone, Debug, Default)]
pub(super) struct Target {
    answered: Option<(Answer, Instant)>,
    /// Failures since the last answer.
    in_a_row: u32,
    pub(super) failures: u64,
    /// Why it failed last, when it has since the last answer.
    pub(super) why: Option<Arc<str>>,
    given_up: bool,
}

/// What follows from an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Heard {
    /// Whether clients get another answer.
    pub(super) changed: bool,
    /// When to ask again.
    pub(super) again: Duration,
}

impl Target {
    /// The addresses to answer; none when nobody knows them.
    pub(super) fn addresses(&self) -> Option<&[IpAddr]> {
        let (answer, _) = self.answered.as_ref().filter(|_| !self.given_up)?;
        Some(&answer.addresses)
    }

    /// How long ago it was answered last.
    pub(super) fn age(&self, now: Instant) -> Option<Duration> {
        let (_, at) = self.answered.as_ref()?;
        Some(now.saturating_duration_since(*at))
    }

    /// Takes an outcome.
    pub(super) fn hear(
        &mut self,
        outcome: Result<Answer, String>,
        now: Instant,
        resolving: &Resolving,
    ) -> Heard {
        let before = self.addresses().map(<[IpAddr]>::to_vec);
        let again = match outcome {
            Ok(answer) => {
                let again = answer.ttl.clamp(resolving.soonest, resolving.latest);
                self.answered = Some((answer, now));
                (self.in_a_row, self.why, self.given_up) = (0, None, false);
                again
            }
            Err(why) => self.fail(why, now, resolving),
        };
        Heard {
            changed: before.as_deref() != self.addresses(),
            again,
        }
    }

    fn fail(&mut self, why: String, now: Instant, resolving: &Resolving) -> Duration {
        self.failures += 1;
        self.why = Some(why.into());
        let doubled = resolving.soonest.saturating_mul(1 << self.in_a_row.min(10));
        self.in_a_row = self.in_a_row.saturating_add(1);
        let again = doubled.min(resolving.latest);
        let left = self.age(now).map(|age| resolving.stale.saturating_sub(age));
        match left {
            // At the moment when it counts no more, it is asked for once again.
            Some(left) if !left.is_zero() => again.min(left),
            _ => {
                self.given_up = true;
                again
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolving() -> Resolving {
        let seconds = Duration::from_secs;
        Resolving {
            servers: Vec::new(),
            timeout: seconds(2),
            soonest: seconds(5),
            latest: seconds(60),
            stale: seconds(100),
            private: false,
        }
    }

    fn answer(address: &str, ttl: u64) -> Result<Answer, String> {
        Ok(Answer {
            addresses: vec![address.parse().unwrap()],
            ttl: Duration::from_secs(ttl),
        })
    }

    #[test]
    fn ttls_decide_when_to_ask_again_within_bounds() {
        let mut target = Target::default();
        for (ttl, again) in [(0, 5), (30, 30), (3600, 60)] {
            let heard = target.hear(answer("192.0.2.1", ttl), Instant::now(), &resolving());
            assert_eq!(heard.again, Duration::from_secs(again));
            assert_eq!(heard.changed, ttl == 0, "the same addresses are no news");
        }
        let other = target.hear(answer("192.0.2.2", 9), Instant::now(), &resolving());
        assert!(other.changed);
    }

    #[test]
    fn the_last_answer_counts_for_a_while_and_not_for_ever() {
        let (mut target, began) = (Target::default(), Instant::now());
        let at = |seconds| began + Duration::from_secs(seconds);
        let fail = |target: &mut Target, seconds| {
            let heard = target.hear(Err("no answer".into()), at(seconds), &resolving());
            (heard.changed, heard.again.as_secs())
        };
        assert_eq!(fail(&mut target, 0), (false, 5));
        assert_eq!(target.addresses(), None, "nothing was ever known");
        assert!(
            target
                .hear(answer("192.0.2.1", 9), began, &resolving())
                .changed
        );
        for (seconds, again) in [(10, 5), (15, 10), (25, 20), (45, 40), (85, 15)] {
            assert_eq!(fail(&mut target, seconds), (false, again), "{seconds}");
            assert!(target.addresses().is_some());
        }
        assert_eq!(fail(&mut target, 100), (true, 60), "too old");
        assert_eq!(target.addresses(), None);
        assert_eq!(fail(&mut target, 160), (false, 60), "that was told already");
        assert!(
            target
                .hear(answer("192.0.2.1", 9), at(200), &resolving())
                .changed
        );
        assert_eq!((target.failures, target.why.clone()), (8, None));
    }
}
