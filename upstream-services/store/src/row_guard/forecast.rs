//! How fast a table grows, and when it is full. Pure.

use std::time::Duration;

use super::DAY;
use crate::Time;

/// How many rows there were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sample {
    pub(super) at: Time,
    pub(super) rows: i64,
}

/// What samples say of the days to come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Forecast {
    pub(super) per_day: Option<f64>,
    pub(super) full_at: Option<Time>,
}

/// The most rows a table should have.
pub(super) const FULL: i64 = 10_000_000;

/// The forecast by past samples, the oldest first, and the present one.
///
/// Growth is the slope of the least-squares line through the samples of the last 30 days: servers' estimates jump by
/// a tenth and more, and two of them alone would tell of floods and droughts. The line goes on from the present number.
pub(super) fn of(past: &[Sample], now: Sample) -> Forecast {
    let recent = past
        .iter()
        .filter(|sample| now.at.since(sample.at) <= WINDOW);
    let points: Vec<(f64, f64)> = recent
        .chain([&now])
        .map(|sample| (-days(now.at.since(sample.at)), sample.rows as f64))
        .collect();
    let per_day = match points.first() {
        Some((first, _)) if *first <= -1.0 => slope(&points),
        _ => None,
    };
    let full_at = match per_day {
        _ if now.rows >= FULL => Some(now.at),
        Some(per_day) if per_day > 0.0 => {
            let days = (FULL - now.rows) as f64 / per_day;
            // Farther ahead nobody believes in it.
            (days <= CENTURY).then(|| now.at.plus(DAY.mul_f64(days)))
        }
        _ => None,
    };
    Forecast { per_day, full_at }
}

fn slope(points: &[(f64, f64)]) -> Option<f64> {
    let count = points.len() as f64;
    let mean_x = points.iter().map(|(x, _)| x).sum::<f64>() / count;
    let mean_y = points.iter().map(|(_, y)| y).sum::<f64>() / count;
    let covariance: f64 = points
        .iter()
        .map(|(x, y)| (x - mean_x) * (y - mean_y))
        .sum();
    let variance: f64 = points.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    (variance > 0.0).then(|| covariance / variance)
}

fn days(duration: Duration) -> f64 {
    duration.as_secs_f64() / DAY.as_secs_f64()
}

const WINDOW: Duration = Duration::from_secs(30 * 86_400);
const CENTURY: f64 = 36_525.0;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample(day: u32, rows: i64) -> Sample {
        Sample {
            at: Time::from_millis(1_800_000_000_000).plus(DAY * day),
            rows,
        }
    }

    #[test]
    fn a_single_day_says_nothing_of_the_next() {
        let first = sample(0, 5000);
        let unknown = Forecast {
            per_day: None,
            full_at: None,
        };
        assert_eq!(of(&[], first), unknown);
        let hours_later = Sample {
            at: first.at.plus(DAY / 2),
            rows: 9000,
        };
        assert_eq!(of(&[first], hours_later), unknown);
        assert!(of(&[first], sample(1, 9000)).per_day.is_some());
    }

    #[test]
    fn a_full_table_is_full_now() {
        let full = sample(3, FULL);
        assert_eq!(of(&[], full).full_at, Some(full.at));
        assert_eq!(of(&[sample(0, 2 * FULL)], full).full_at, Some(full.at));
    }

    #[test]
    fn only_the_last_thirty_days_count() {
        let past: Vec<Sample> = (0..60)
            .map(|day| sample(day, i64::from(day.min(20)) * 100_000))
            .collect();
        let still = of(&past, sample(60, 2_000_000));
        assert_eq!(still.per_day, Some(0.0));
        assert_eq!(still.full_at, None);
    }

    #[test]
    fn one_wild_estimate_among_many_does_not_decide() {
        let mut past: Vec<Sample> = (0..30)
            .map(|day| sample(day, i64::from(day) * 1000))
            .collect();
        past[0].rows = 30_000;
        let per_day = of(&past, sample(30, 30_000)).per_day.unwrap();
        assert!((500.0..1000.0).contains(&per_day), "{per_day}");
    }

    proptest! {
        #[test]
        fn steady_growth_is_full_on_its_day(start in 0..5_000_000_i64, daily in 1000..400_000_i64, days in 2..=20_u32) {
            let rows = |day: u32| start + daily * i64::from(day);
            prop_assume!(rows(days) < FULL);
            let past: Vec<Sample> = (0..days).map(|day| sample(day, rows(day))).collect();
            let forecast = of(&past, sample(days, rows(days)));
            let per_day = forecast.per_day.unwrap();
            prop_assert!((per_day - daily as f64).abs() < 1e-3, "{per_day}");
            let full = sample(0, 0).at.plus(DAY.mul_f64((FULL - start) as f64 / daily as f64));
            let found = forecast.full_at.unwrap();
            prop_assert!(found.since(full).max(full.since(found)) < Duration::from_secs(60));
        }

        #[test]
        fn whatever_the_samples_it_is_never_full_in_the_past(rows in prop::collection::vec(0..2 * FULL, 1..40)) {
            let samples: Vec<Sample> = (0..).zip(&rows).map(|(day, rows)| sample(day, *rows)).collect();
            let (now, past) = samples.split_last().unwrap();
            let forecast = of(past, *now);
            if let Some(full) = forecast.full_at {
                prop_assert!(full >= now.at);
                prop_assert!(now.rows >= FULL || forecast.per_day.unwrap() > 0.0);
            }
        }
    }
}
