//! How much is held and for how long, and what came of it.

use std::time::Duration;

/// How much a [`Cache`](crate::Cache) holds and for how long.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// The most entries held in memory, negative ones included.
    pub entries: u64,
    /// How long a value is served.
    pub ttl: Duration,
    /// How long the knowledge is served that there is no value.
    pub negative_ttl: Duration,
    /// How long after its time a value is still served from memory, while it is loaded anew or cannot be.
    pub stale: Duration,
    /// The part of a time to live (0.0 to 1.0) that is drawn by lot for every entry, so that
    /// entries filled together do not expire together.
    pub jitter: f64,
    /// How long the mark of an invalidation stays: longer than replicas may be behind.
    pub marks: Duration,
}

/// What a cache did since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Look-ups answered from memory, negative entries included.
    pub hits: u64,
    /// Those of them whose entry was past its time.
    pub stale: u64,
    /// Look-ups that had to wait for the remote or the source.
    pub misses: u64,
    /// Keys found in the remote.
    pub remote_hits: u64,
    /// Keys the source was asked for.
    pub loads: u64,
    /// Entries held in memory now (an estimate while many change).
    pub entries: u64,
    /// Keys that have far more than their share of the look-ups now.
    pub hot: usize,
}

impl Limits {
    /// A time to live, less its lot.
    pub(crate) fn draw(&self, found: bool) -> Duration {
        let ttl = match found {
            true => self.ttl,
            false => self.negative_ttl,
        };
        ttl.mul_f64(1.0 - self.jitter.clamp(0.0, 1.0) * rand::random::<f64>())
    }
}
