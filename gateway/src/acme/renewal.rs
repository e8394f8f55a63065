//! When a certificate is to be replaced, and how long to wait after a failure. Pure.

use std::time::{Duration, SystemTime};

/// From when to when a certificate can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Validity {
    pub(crate) not_before: SystemTime,
    pub(crate) not_after: SystemTime,
}

/// When it is to be replaced: `before` its end, or with a third of its life left. Never in the
/// first half of its life, or a large `before` would ask for one certificate after the other.
pub(super) fn due(validity: Validity, before: Option<Duration>) -> SystemTime {
    let Validity {
        not_before,
        not_after,
    } = validity;
    let life = not_after.duration_since(not_before).unwrap_or_default();
    let before = before.unwrap_or(life / 3).min(life / 2);
    not_after - before
}

/// A moment of the window that an authority suggests, the same for the same `random` from 0 to 1
/// (RFC 9773, section 4.2).
pub(super) fn within(window: Validity, random: f64) -> SystemTime {
    let length = window.not_after.duration_since(window.not_before);
    window.not_before + length.unwrap_or_default().mul_f64(random.clamp(0.0, 1.0))
}

/// When it is to be replaced if the authority has a suggestion, which counts when it is sooner. One
/// that is never content does not make us order without end: `renewed` is when we did last.
pub(super) fn sooner(
    due: SystemTime,
    suggested: Option<SystemTime>,
    renewed: Option<SystemTime>,
) -> SystemTime {
    let earliest = renewed.map_or(SystemTime::UNIX_EPOCH, |renewed| renewed + LEAST_BETWEEN);
    suggested.map_or(due, |suggested| due.min(suggested.max(earliest)))
}

/// How long to wait after so many failures in a row, at least as long as the authority asked for.
///
/// Five seconds, then four times as long each time up to an hour, less up to a fifth by chance,
/// so that many gateways do not ask together. Let's Encrypt takes five failed validations of a
/// name at once and one more each twelve minutes; these attempts stay within that.
pub(super) fn pause(failures: u32, asked_for: Option<Duration>, random: f64) -> Duration {
    let steps = failures.saturating_sub(1).min(8);
    let pause = (FIRST * 4u32.pow(steps)).min(LONGEST);
    let pause = pause.mul_f64(1.0 - random.clamp(0.0, 1.0) / 5.0);
    pause.max(asked_for.unwrap_or_default().min(LONGEST_ASKED_FOR))
}

/// Between two certificates, whatever an authority suggests.
const LEAST_BETWEEN: Duration = Duration::from_secs(6 * 3600);
const FIRST: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(3600);
/// An authority that asks for more is asked again after this.
const LONGEST_ASKED_FOR: Duration = Duration::from_secs(24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn validity(days: u32) -> Validity {
        let not_before = SystemTime::UNIX_EPOCH + DAY * 20_000;
        let not_after = not_before + DAY * days;
        Validity {
            not_before,
            not_after,
        }
    }

    #[test]
    fn a_third_of_a_life_is_left_for_the_renewal() {
        let ninety = validity(90);
        assert_eq!(due(ninety, None), ninety.not_before + DAY * 60);
        let six = validity(6);
        assert_eq!(due(six, None), six.not_before + DAY * 4);
        assert_eq!(due(ninety, Some(DAY * 10)), ninety.not_before + DAY * 80);
    }

    #[test]
    fn no_setting_asks_for_one_certificate_after_the_other() {
        let six = validity(6);
        assert_eq!(due(six, Some(DAY * 30)), six.not_before + DAY * 3);
        let reversed = Validity {
            not_before: six.not_after,
            not_after: six.not_before,
        };
        assert_eq!(due(reversed, None), six.not_before);
    }

    #[test]
    fn a_window_is_used_from_end_to_end() {
        let window = validity(2);
        assert_eq!(within(window, 0.0), window.not_before);
        assert_eq!(within(window, 0.5), window.not_before + DAY);
        assert_eq!(within(window, 1.0), window.not_after);
    }

    #[test]
    fn an_authority_may_want_it_sooner_and_not_without_end() {
        let at = |day: u32| SystemTime::UNIX_EPOCH + DAY * (20_000 + day);
        assert_eq!(sooner(at(60), None, None), at(60));
        assert_eq!(sooner(at(60), Some(at(70)), None), at(60));
        assert_eq!(sooner(at(60), Some(at(2)), None), at(2));
        assert_eq!(sooner(at(60), Some(at(2)), Some(at(1))), at(2));
        assert_eq!(sooner(at(60), Some(at(0)), Some(at(1))), at(1) + DAY / 4);
    }

    #[test]
    fn failures_are_tried_again_ever_more_slowly() {
        let pauses: Vec<_> = (1..=7).map(|n| pause(n, None, 0.0).as_secs()).collect();
        assert_eq!(pauses, [5, 20, 80, 320, 1280, 3600, 3600]);
        assert_eq!(pause(u32::MAX, None, 0.0), LONGEST);
        assert_eq!(pause(1, None, 1.0), Duration::from_secs(4));
    }

    #[test]
    fn what_the_authority_asks_for_is_kept_within_reason() {
        let asked = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(pause(1, asked(60), 0.5), Duration::from_secs(60));
        assert_eq!(pause(6, asked(60), 0.0), LONGEST);
        assert_eq!(pause(1, asked(u64::MAX), 0.0), LONGEST_ASKED_FOR);
    }
}
