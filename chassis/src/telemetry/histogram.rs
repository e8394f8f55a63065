//! Durations counted in fixed buckets, as a Prometheus histogram.

use std::time::Duration;

use prometheus::proto;

use super::cells::Cells;

/// Upper bounds of the buckets, in seconds.
pub const BOUNDS_SECONDS: [f64; 14] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

const BOUNDS_MICROS: [u64; 14] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000,
];

/// Where in a row of [`Cells`] the buckets of a duration stand: one a bound, one above all, one for the sum.
#[derive(Clone, Copy, Debug)]
pub struct DurationBuckets {
    first: usize,
}

impl DurationBuckets {
    /// How many counters it needs.
    pub const COUNTERS: usize = BOUNDS_MICROS.len() + 2;

    /// Buckets that start at a counter.
    pub const fn at(first: usize) -> Self {
        Self { first }
    }

    /// Counts one duration.
    pub fn observe(self, cells: &Cells, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_MICROS.partition_point(|bound| *bound < micros);
        cells.add(self.first + bucket, 1);
        cells.add(self.first + Self::COUNTERS - 1, micros);
    }

    /// The histogram as Prometheus wants it.
    pub fn collect(self, cells: &Cells) -> proto::Histogram {
        let mut total = 0;
        let mut buckets = Vec::with_capacity(BOUNDS_SECONDS.len());
        for (at, bound) in BOUNDS_SECONDS.iter().enumerate() {
            total += cells.sum(self.first + at);
            let mut bucket = proto::Bucket::default();
            bucket.set_upper_bound(*bound);
            bucket.set_cumulative_count(total);
            buckets.push(bucket);
        }
        total += cells.sum(self.first + BOUNDS_SECONDS.len());
        let mut histogram = proto::Histogram::default();
        histogram.set_sample_count(total);
        histogram.set_sample_sum(cells.sum(self.first + Self::COUNTERS - 1) as f64 / 1e6);
        histogram.set_bucket(buckets);
        histogram
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_falls_into_its_bucket() {
        let cells = Cells::new(1 + DurationBuckets::COUNTERS);
        let buckets = DurationBuckets::at(1);
        for micros in [500, 501, 20_000_000] {
            buckets.observe(&cells, Duration::from_micros(micros));
        }
        let histogram = buckets.collect(&cells);
        assert_eq!(histogram.get_sample_count(), 3);
        assert_eq!(histogram.get_bucket()[0].cumulative_count(), 1);
        assert_eq!(histogram.get_bucket()[1].cumulative_count(), 2);
        assert_eq!(histogram.get_bucket()[13].cumulative_count(), 2);
        assert!((histogram.get_sample_sum() - 20.001_001).abs() < 1e-9);
    }
}
