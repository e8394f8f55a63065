//! Medians, spreads and ratios of rounds.

use serde::Serialize;

/// The middle of several rounds, and how far they are apart.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Figure {
    /// The median.
    pub(crate) median: f64,
    /// The least of all rounds.
    pub(crate) min: f64,
    /// The most of all rounds.
    pub(crate) max: f64,
}

impl Figure {
    /// Of these rounds; `None` when there is none.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().filter(|v| v.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = match values.len() % 2 {
            0 => f64::midpoint(values[middle - 1], values[middle]),
            _ => values[middle],
        };
        Some(Self { median, min, max })
    }

    /// Of the ratios, round by round: what drifts meanwhile drifts for both.
    pub(crate) fn of_ratios(ours: &[f64], theirs: &[f64]) -> Option<Self> {
        Self::of(ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_count_lies_between() {
        let figure = Figure::of([4.0, 1.0, 2.0, 3.0]).expect("there are rounds");
        assert_eq!((figure.min, figure.median, figure.max), (1.0, 2.5, 4.0));
        assert_eq!(Figure::of([3.0, 1.0, 2.0]).map(|f| f.median), Some(2.0));
        assert_eq!(Figure::of([]), None);
    }

    #[test]
    fn a_ratio_is_taken_in_each_round() {
        // The machine is twice as slow in the second round, for both.
        let ratio = Figure::of_ratios(&[5.0, 10.0], &[10.0, 20.0]).expect("there are rounds");
        assert_eq!((ratio.min, ratio.median, ratio.max), (0.5, 0.5, 0.5));
    }

    #[test]
    fn a_round_without_a_request_is_left_out() {
        let ratio = Figure::of_ratios(&[5.0, 1.0], &[10.0, 0.0]);
        assert_eq!(ratio.map(|ratio| ratio.max), Some(0.5));
    }
}
