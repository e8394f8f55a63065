//! From single outcomes to a verdict: rise and fall, and damping of what flaps.

use std::time::{Duration, Instant};

/// How many outcomes in a row change a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Good ones, from bad to good; at least 1.
    pub rise: u32,
    /// Bad ones, from good to bad; at least 1.
    pub fall: u32,
    /// What flaps must prove more.
    pub damping: Option<Damping>,
}

/// What flaps must be good for longer each time before it counts as good again.
///
/// After the second fall it takes four times as many good outcomes in a row as `rise`, after the third sixteen times,
/// up to [`Damping::MOST`] (or `rise`, when that is more). Half of all probes being lost, a run of n good ones is
/// 2^(n+1) - 2 probes away on average (W. Feller, An Introduction to Probability Theory and Its Applications, vol. 1,
/// XIII.7): with a rise of 2 that is 6, then 510, then 8.6e9.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damping {
    /// So long without a fall, and falls are forgotten.
    pub calm: Duration,
}

impl Damping {
    /// The most good outcomes in a row that damping asks for.
    pub const MOST: u32 = 64;
}

/// A verdict in the making.
#[derive(Clone, Debug, Default)]
pub struct Judgement {
    verdict: Option<bool>,
    /// Outcomes in a row that speak against the verdict.
    against: u32,
    /// Falls that are not forgotten.
    falls: u32,
    /// Since when it is good.
    good_since: Option<Instant>,
}

impl Judgement {
    /// Begins with a verdict before any outcome.
    pub fn presumed(good: bool) -> Self {
        Self {
            verdict: Some(good),
            ..Self::default()
        }
    }

    /// The verdict; none before the first outcome.
    pub fn verdict(&self) -> Option<bool> {
        self.verdict
    }

    /// Takes an outcome that was known at `now`; some when the verdict is new. Without a verdict the first outcome
    /// decides alone.
    pub fn hear(&mut self, good: bool, now: Instant, thresholds: &Thresholds) -> Option<bool> {
        if self.verdict == Some(good) {
            self.against = 0;
            if good {
                self.forget(now, thresholds);
            }
            return None;
        }
        self.against += 1;
        let needed = match (self.verdict, good) {
            (None, _) => 1,
            (_, true) => self.needed_to_rise(thresholds),
            (_, false) => thresholds.fall,
        };
        if self.against < needed {
            return None;
        }
        if self.verdict == Some(true) {
            self.forget(now, thresholds);
            self.falls = self.falls.saturating_add(1);
        }
        self.against = 0;
        self.verdict = Some(good);
        self.good_since = good.then_some(now);
        self.verdict
    }

    /// How many good outcomes in a row it takes now.
    fn needed_to_rise(&self, thresholds: &Thresholds) -> u32 {
        let Thresholds { rise, damping, .. } = *thresholds;
        match damping {
            None => rise,
            Some(_) => {
                let times = 4u32.saturating_pow(self.falls.saturating_sub(1));
                rise.saturating_mul(times).min(Damping::MOST.max(rise))
            }
        }
    }

    fn forget(&mut self, now: Instant, thresholds: &Thresholds) {
        let since = *self.good_since.get_or_insert(now);
        let calm = thresholds.damping.map(|damping| damping.calm);
        if calm.is_some_and(|calm| now.saturating_duration_since(since) >= calm) {
            self.falls = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    const fn thresholds(rise: u32, fall: u32, calm: Option<u64>) -> Thresholds {
        let damping = match calm {
            None => None,
            Some(calm) => Some(Damping {
                calm: Duration::from_secs(calm),
            }),
        };
        Thresholds {
            rise,
            fall,
            damping,
        }
    }

    /// Outcomes a second apart, and when the verdict changed to what.
    fn changes(
        outcomes: impl IntoIterator<Item = bool>,
        thresholds: &Thresholds,
    ) -> Vec<(u64, bool)> {
        let mut judgement = Judgement::default();
        let mut now = Instant::now();
        let mut changes = Vec::new();
        for (second, good) in (0..).zip(outcomes) {
            if let Some(verdict) = judgement.hear(good, now, thresholds) {
                changes.push((second, verdict));
            }
            now += SECOND;
        }
        changes
    }

    #[test]
    fn rise_and_fall() {
        let mut judgement = Judgement::default();
        let thresholds = thresholds(2, 3, None);
        let mut hear = |good| judgement.hear(good, Instant::now(), &thresholds);
        assert_eq!(hear(true), Some(true), "the first outcome decides alone");
        assert_eq!(
            [hear(false), hear(false), hear(true)],
            [None; 3],
            "a good one starts anew"
        );
        assert_eq!([hear(false), hear(false)], [None; 2]);
        assert_eq!(hear(false), Some(false));
        assert_eq!(hear(true), None);
        assert_eq!(hear(true), Some(true));
    }

    #[test]
    fn what_is_presumed_takes_as_much_to_refute_as_what_is_known() {
        let thresholds = thresholds(2, 3, None);
        let mut judgement = Judgement::presumed(true);
        let mut hear = |good| judgement.hear(good, Instant::now(), &thresholds);
        assert_eq!(
            [hear(false), hear(false), hear(false)],
            [None, None, Some(false)]
        );
    }

    #[test]
    fn each_fall_makes_the_next_rise_longer_until_it_was_calm() {
        let thresholds = thresholds(2, 1, Some(100));
        let mut judgement = Judgement::default();
        let mut now = Instant::now();
        let mut outcomes = |good, needed: u32| {
            for turn in 1..=needed {
                now += SECOND;
                let changed = judgement.hear(good, now, &thresholds).is_some();
                assert_eq!(changed, turn == needed, "{turn} of {needed}");
            }
        };
        outcomes(true, 1);
        for needed in [2, 8, 32, 64, 64] {
            outcomes(false, 1);
            outcomes(true, needed);
        }
        for _ in 0..100 {
            now += SECOND;
            assert_eq!(judgement.hear(true, now, &thresholds), None);
        }
        let mut outcomes = |good| {
            now += SECOND;
            judgement.hear(good, now, &thresholds)
        };
        assert_eq!(outcomes(false), Some(false));
        assert_eq!(
            [outcomes(true), outcomes(true)],
            [None, Some(true)],
            "as the first time"
        );
    }

    /// The most falls that any outcomes a second apart can bring about in so many seconds without calm.
    fn most_falls(seconds: u32, thresholds: &Thresholds) -> usize {
        let (mut falls, mut spent) = (0u32, 1);
        loop {
            spent += thresholds.fall;
            if spent > seconds {
                return falls as usize;
            }
            falls += 1;
            let times = 4u32.saturating_pow(falls - 1);
            spent += (thresholds.rise.saturating_mul(times)).min(Damping::MOST);
        }
    }

    proptest! {
        #[test]
        fn whatever_the_outcomes_falls_are_bounded(
            rise in 1u32..5,
            fall in 1u32..5,
            outcomes in proptest::collection::vec(any::<bool>(), 600),
            run in 1usize..70,
        ) {
            let thresholds = thresholds(rise, fall, Some(10_000));
            // Runs make changes likelier than independent outcomes do.
            let stretched = outcomes.iter().flat_map(|good| std::iter::repeat_n(*good, run)).take(600);
            for outcomes in [outcomes.clone(), stretched.collect()] {
                let falls = changes(outcomes, &thresholds).iter().filter(|(_, good)| !good).count();
                prop_assert!(falls <= most_falls(600, &thresholds) + 1, "{falls}"); // the first may be bad
            }
        }

        #[test]
        fn half_of_all_probes_lost_is_no_flapping(seed in any::<u64>()) {
            let thresholds = thresholds(2, 3, Some(300));
            let changes = changes(coins(seed).take(20_000), &thresholds);
            // Down at the first, after `rise`, and after 8 in a row; 32 in a row do not come.
            let falls = changes.iter().filter(|(_, good)| !good).count();
            prop_assert!(falls <= 4, "{changes:?}");
            prop_assert!(changes.iter().all(|(second, _)| *second < 10_000), "{changes:?}");
            prop_assert_eq!(changes.last().map(|(_, good)| *good), Some(false), "and it ends as down");
        }

        #[test]
        fn what_is_well_again_is_up_again_in_bounded_time(
            outcomes in proptest::collection::vec(any::<bool>(), 0..500),
            rise in 1u32..5,
        ) {
            let thresholds = thresholds(rise, 2, Some(300));
            let outcomes = outcomes.into_iter().chain(std::iter::repeat_n(true, 64));
            let changes = changes(outcomes, &thresholds);
            prop_assert_eq!(changes.last().map(|(_, good)| *good), Some(true));
        }
    }

    /// Independent outcomes, half of which are good.
    fn coins(seed: u64) -> impl Iterator<Item = bool> {
        use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
        let hasher = BuildHasherDefault::<DefaultHasher>::default();
        (0u64..).map(move |turn| hasher.hash_one((seed, turn)) & 1 == 1)
    }
}
