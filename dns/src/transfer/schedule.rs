//! When a copy of a zone looks at its primary, and until when it serves (RFC 1035, 3.3.13; RFC 1912, 2.2).

use std::time::{Duration, SystemTime};

use super::version::Times;

/// What is known of a copy.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Schedule {
    /// Of the version that is there; none before the first.
    pub(super) times: Option<Times>,
    /// When the primary was heard last.
    pub(super) heard: Option<SystemTime>,
    /// Looks that failed since then.
    pub(super) failures: u32,
}

/// Nobody looks more often, whatever the zone says: the load is another server's.
const SHORTEST: Duration = Duration::from_secs(1);
/// The longest pause before the first version is there.
const LONGEST_WITHOUT: Duration = Duration::from_secs(600);

impl Schedule {
    /// How long to wait for the next look. `chance` is from 0 to 1: so many copies that began together do not ask together.
    pub(super) fn pause(&self, now: SystemTime, chance: f64) -> Duration {
        let spread = |period: Duration| period.mul_f64(1.0 - 0.1 * chance.clamp(0.0, 1.0));
        let seconds = |number: u32| Duration::from_secs(number.into()).max(SHORTEST);
        match (self.times, self.heard) {
            (Some(times), Some(heard)) if self.failures == 0 => {
                let passed = now.duration_since(heard).unwrap_or_default();
                spread(seconds(times.refresh)).saturating_sub(passed)
            }
            (Some(times), _) => spread(seconds(times.retry)),
            (None, _) if self.failures == 0 => Duration::ZERO,
            (None, _) => {
                let doubled = SHORTEST.saturating_mul(1 << self.failures.min(16).saturating_sub(1));
                spread(doubled.min(LONGEST_WITHOUT))
            }
        }
    }

    /// When it serves no more, if the primary is not heard.
    pub(super) fn expires(&self) -> Option<SystemTime> {
        let (times, heard) = (self.times?, self.heard?);
        heard.checked_add(Duration::from_secs(times.expire.into()))
    }

    /// Whether it serves no more.
    pub(super) fn is_expired(&self, now: SystemTime) -> bool {
        self.expires().is_some_and(|at| now >= at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMES: Times = Times {
        serial: 1,
        refresh: 100,
        retry: 10,
        expire: 1000,
    };

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn it_looks_after_refresh_and_after_retry_when_that_failed() {
        let mut schedule = Schedule {
            times: Some(TIMES),
            heard: Some(at(1000)),
            failures: 0,
        };
        assert_eq!(schedule.pause(at(1000), 0.0), Duration::from_secs(100));
        assert_eq!(schedule.pause(at(1000), 1.0), Duration::from_secs(90));
        // What passed while no process ran counts too.
        assert_eq!(schedule.pause(at(1060), 0.0), Duration::from_secs(40));
        assert_eq!(schedule.pause(at(5000), 0.0), Duration::ZERO);
        schedule.failures = 3;
        assert_eq!(schedule.pause(at(5000), 0.0), Duration::from_secs(10));
    }

    #[test]
    fn it_serves_until_the_primary_was_silent_too_long() {
        let schedule = Schedule {
            times: Some(TIMES),
            heard: Some(at(1000)),
            failures: 9,
        };
        assert!(!schedule.is_expired(at(1999)));
        assert!(schedule.is_expired(at(2000)));
        assert!(!Schedule::default().is_expired(at(2000)));
    }

    #[test]
    fn without_a_version_it_asks_at_once_and_then_ever_more_seldom() {
        let pause = |failures| {
            let schedule = Schedule {
                failures,
                ..Schedule::default()
            };
            schedule.pause(at(0), 0.0).as_secs()
        };
        assert_eq!([0, 1, 2, 3, 40].map(pause), [0, 1, 2, 4, 600]);
    }

    #[test]
    fn a_zone_that_wants_no_pause_gets_one() {
        let schedule = Schedule {
            times: Some(Times {
                refresh: 0,
                retry: 0,
                ..TIMES
            }),
            heard: Some(at(0)),
            failures: 0,
        };
        assert_eq!(schedule.pause(at(0), 0.0), SHORTEST);
    }
}
