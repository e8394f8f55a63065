//! How hard a role works: what `/pressure` says and what scaling decides by.

use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::cells::Cells;

/// Counts requests, and tells the load of the last ten seconds.
///
/// Latencies fall into buckets that grow by a quarter (four in each power of
/// two of microseconds), so that a percentile is right within 25%.
#[derive(Debug)]
pub struct Pressure {
    cells: Cells,
    started: Cells,
    limit: AtomicI64,
    window: Mutex<Window>,
}

/// What `/pressure` answers. Rates and percentiles are over `window_seconds`; null means "not known".
#[derive(Clone, Debug, Serialize, PartialEq)]
pub struct PressureReport {
    /// Seconds that the figures below cover.
    pub window_seconds: f64,
    /// Requests a second, each weighted by its latency: below 10 ms 0.1, 50 ms
    /// 0.5, 100 ms 2, 500 ms 4, above 8 (the scheme of CudgX).
    pub weighted_qps: f64,
    /// Requests a second.
    pub qps: f64,
    /// Requests being worked on now.
    pub in_flight: u64,
    /// How many may be worked on at once; null when nothing limits it.
    pub limit: Option<u64>,
    /// How long the requests that wait had to wait, in milliseconds; null when nothing queues.
    pub queue_wait_ms: Option<f64>,
    /// Latency in milliseconds that 50% of the requests stayed below.
    pub latency_p50_ms: Option<f64>,
    /// The same for 90%.
    pub latency_p90_ms: Option<f64>,
    /// The same for 99%.
    pub latency_p99_ms: Option<f64>,
    /// Share of the requests answered with 5xx, 0 to 1.
    pub error_ratio: f64,
    /// Weighted requests a second that this process can serve, once it has been learned.
    pub learned_capacity: Option<f64>,
}

const OCTAVES: usize = 26; // up to 2^26 us = 67 s
const BUCKETS: usize = OCTAVES * 4;
const ERRORS: usize = BUCKETS;
const QUEUE_WAITS: usize = BUCKETS + 1;
const QUEUE_WAIT_MICROS: usize = BUCKETS + 2;
const COUNTERS: usize = BUCKETS + 3;
const WINDOW: Duration = Duration::from_secs(10);

type Counts = [u64; COUNTERS];

/// Sums a second apart, the oldest first.
#[derive(Debug, Default)]
struct Window(std::collections::VecDeque<(Instant, Box<Counts>)>);

impl Default for Pressure {
    fn default() -> Self {
        Self {
            cells: Cells::new(COUNTERS),
            started: Cells::new(1),
            limit: AtomicI64::new(-1),
            window: Mutex::default(),
        }
    }
}

impl Pressure {
    /// A request begins.
    pub fn begin(&self) {
        self.started.add(0, 1);
    }

    /// A request that began has ended; `failed` when it was answered with 5xx.
    pub fn end(&self, latency: Duration, failed: bool) {
        self.cells.add(bucket_of(latency), 1);
        if failed {
            self.cells.add(ERRORS, 1);
        }
    }

    /// So many requests began and ended, each after this latency.
    pub fn ended(&self, requests: u64, latency: Duration) {
        self.started.add(0, requests);
        self.cells.add(bucket_of(latency), requests);
    }

    /// A request waited in a queue before it was worked on.
    pub fn waited(&self, wait: Duration) {
        self.cells.add(QUEUE_WAITS, 1);
        self.cells.add(QUEUE_WAIT_MICROS, micros(wait));
    }

    /// Sets how many requests may be worked on at once.
    pub fn set_limit(&self, limit: Option<u64>) {
        let limit = limit.map_or(-1, |limit| i64::try_from(limit).unwrap_or(i64::MAX));
        self.limit.store(limit, Relaxed);
    }

    /// Requests being worked on now.
    pub fn in_flight(&self) -> u64 {
        // Each request that ended is in one bucket; another counter would cost each request more.
        // Finished first: a request that ends in between must not make the difference negative.
        let finished: u64 = (0..BUCKETS).map(|bucket| self.cells.sum(bucket)).sum();
        self.started.sum(0).saturating_sub(finished)
    }

    /// Remembers the sums of now; to be called once a second.
    pub fn tick(&self, now: Instant) {
        let counts = self.counts();
        let mut window = self
            .window
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        window.0.push_back((now, counts));
        while window.0.len() > 2 && now.duration_since(window.0[1].0) >= WINDOW {
            window.0.pop_front();
        }
    }

    /// The load of the last ten seconds.
    pub fn report(&self, now: Instant) -> PressureReport {
        let mut counts = self.counts();
        let window = self
            .window
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut seconds = 0.0;
        if let Some((then, old)) = window.0.front() {
            seconds = now.duration_since(*then).as_secs_f64();
            for (new, old) in counts.iter_mut().zip(old.iter()) {
                *new = new.wrapping_sub(*old);
            }
        }
        drop(window);
        let total: u64 = counts[..BUCKETS].iter().sum();
        let rate = |count: f64| if seconds > 0.0 { count / seconds } else { 0.0 };
        let weighted: f64 = counts[..BUCKETS]
            .iter()
            .enumerate()
            .map(|(bucket, count)| *count as f64 * weight_of(bucket))
            .sum();
        PressureReport {
            window_seconds: seconds,
            weighted_qps: rate(weighted),
            qps: rate(total as f64),
            in_flight: self.in_flight(),
            limit: u64::try_from(self.limit.load(Relaxed)).ok(),
            queue_wait_ms: (counts[QUEUE_WAITS] > 0)
                .then(|| counts[QUEUE_WAIT_MICROS] as f64 / counts[QUEUE_WAITS] as f64 / 1e3),
            latency_p50_ms: percentile(&counts, total, 0.50),
            latency_p90_ms: percentile(&counts, total, 0.90),
            latency_p99_ms: percentile(&counts, total, 0.99),
            error_ratio: counts[ERRORS] as f64 / total.max(1) as f64,
            learned_capacity: None,
        }
    }

    fn counts(&self) -> Box<Counts> {
        let mut counts = Box::new([0; COUNTERS]);
        for (at, count) in counts.iter_mut().enumerate() {
            *count = self.cells.sum(at);
        }
        counts
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn bucket_of(latency: Duration) -> usize {
    let micros = micros(latency).max(4);
    let octave = micros.ilog2() as usize;
    let quarter = (micros >> (octave - 2)) as usize & 3;
    (octave * 4 + quarter).min(BUCKETS - 1)
}

/// The upper end of a bucket, in milliseconds.
fn upper_ms(bucket: usize) -> f64 {
    let (octave, quarter) = (bucket / 4, bucket % 4);
    (1u64 << octave) as f64 * (1.0 + (quarter + 1) as f64 / 4.0) / 1e3
}

fn weight_of(bucket: usize) -> f64 {
    match upper_ms(bucket) {
        ms if ms < 10.0 => 0.1,
        ms if ms < 50.0 => 0.5,
        ms if ms < 100.0 => 2.0,
        ms if ms < 500.0 => 4.0,
        _ => 8.0,
    }
}

fn percentile(counts: &Counts, total: u64, share: f64) -> Option<f64> {
    let rank = (total as f64 * share).ceil() as u64;
    let mut seen = 0;
    counts[..BUCKETS]
        .iter()
        .position(|count| {
            seen += count;
            seen >= rank
        })
        .filter(|_| total > 0)
        .map(upper_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_of_known_requests() {
        let pressure = Pressure::default();
        let start = Instant::now();
        pressure.tick(start);
        for _ in 0..99 {
            pressure.begin();
            pressure.end(Duration::from_millis(5), false);
        }
        pressure.begin();
        pressure.end(Duration::from_secs(1), true);
        pressure.begin();
        let report = pressure.report(start + Duration::from_secs(10));
        assert!((report.qps - 10.0).abs() < 1e-9);
        assert!((report.weighted_qps - (99.0 * 0.1 + 8.0) / 10.0).abs() < 1e-9);
        assert!((report.error_ratio - 0.01).abs() < 1e-9);
        assert_eq!(report.in_flight, 1);
        let p50 = report.latency_p50_ms.unwrap();
        assert!((5.0..6.25).contains(&p50), "{p50}");
        assert_eq!(report.latency_p99_ms, report.latency_p50_ms);
    }

    #[test]
    fn old_seconds_leave_the_window() {
        let pressure = Pressure::default();
        let start = Instant::now();
        pressure.end(Duration::from_millis(1), false);
        for second in 0..30 {
            pressure.tick(start + Duration::from_secs(second));
        }
        let report = pressure.report(start + Duration::from_secs(30));
        assert_eq!(report.qps, 0.0);
        assert!(report.window_seconds <= 12.0);
        assert_eq!(report.latency_p50_ms, None);
    }

    #[test]
    fn any_latency_has_a_bucket() {
        for micros in [0, 1, 3, 4, 5, 1000, u64::MAX] {
            assert!(bucket_of(Duration::from_micros(micros)) < BUCKETS);
        }
    }
}
