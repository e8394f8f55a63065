//! What the user services count. Labels are route templates and numbers, never what users sent.

use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
};

use crate::hashing::HashQueue;

/// The counters of the HTTP side.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    /// Requests by route template, method and status.
    pub(crate) requests: IntCounterVec,
    /// Seconds from request to response by route template and method.
    pub(crate) duration: HistogramVec,
    /// Handlers that panicked.
    pub(crate) panics: IntCounter,
    /// Sessions revoked because a refresh token came twice.
    pub(crate) reuse: IntCounter,
}

impl Metrics {
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let requests = Opts::new(
            "tidegate_users_requests_total",
            "Requests by route template, method and status.",
        );
        let duration = HistogramOpts::new(
            "tidegate_users_request_duration_seconds",
            "Time from request to response by route template and method.",
        )
        .buckets(prometheus::exponential_buckets(0.000_25, 2.0, 16)?);
        let metrics = Self {
            requests: IntCounterVec::new(requests, &["route", "method", "status"])?,
            duration: HistogramVec::new(duration, &["route", "method"])?,
            panics: IntCounter::new(
                "tidegate_users_panics_total",
                "Requests whose handler panicked.",
            )?,
            reuse: IntCounter::new(
                "tidegate_users_refresh_reuse_total",
                "Sessions revoked because a used refresh token was presented again.",
            )?,
        };
        registry.register(Box::new(metrics.requests.clone()))?;
        registry.register(Box::new(metrics.duration.clone()))?;
        registry.register(Box::new(metrics.panics.clone()))?;
        registry.register(Box::new(metrics.reuse.clone()))?;
        Ok(metrics)
    }
}

/// The counters of the hashing pool.
#[derive(Clone, Debug)]
pub(crate) struct HashMetrics {
    /// Hashes computed.
    pub(crate) done: IntCounter,
    /// Hashes refused because the queue was full.
    pub(crate) rejected: IntCounter,
    /// Seconds a hash waited for a thread.
    pub(crate) wait: Histogram,
}

impl HashMetrics {
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let wait = HistogramOpts::new(
            "tidegate_users_hash_wait_seconds",
            "Time a password hash waited for a thread.",
        )
        .buckets(prometheus::exponential_buckets(0.000_5, 2.0, 14)?);
        let metrics = Self {
            done: IntCounter::new("tidegate_users_hashes_total", "Password hashes computed.")?,
            rejected: IntCounter::new(
                "tidegate_users_hash_rejected_total",
                "Password hashes refused because the queue was full.",
            )?,
            wait: Histogram::with_opts(wait)?,
        };
        registry.register(Box::new(metrics.done.clone()))?;
        registry.register(Box::new(metrics.rejected.clone()))?;
        registry.register(Box::new(metrics.wait.clone()))?;
        Ok(metrics)
    }
}

type ReadQueue = Box<dyn Fn() -> HashQueue + Send + Sync>;
type ReadCache = Box<dyn Fn() -> cache::Stats + Send + Sync>;

/// Numbers that others keep: read when they are scraped.
pub(crate) struct Observed {
    queue: ReadQueue,
    queued: IntGauge,
    in_flight: IntGauge,
    caches: Vec<(&'static str, ReadCache)>,
    hits: IntCounterVec,
    misses: IntCounterVec,
    entries: prometheus::IntGaugeVec,
    scraping: std::sync::Mutex<()>,
}

impl Observed {
    pub(crate) fn register(
        registry: &Registry,
        queue: ReadQueue,
        caches: Vec<(&'static str, ReadCache)>,
    ) -> Result<(), prometheus::Error> {
        let by_cache =
            |name: &str, help: &str| IntCounterVec::new(Opts::new(name, help), &["cache"]);
        let entries = Opts::new("tidegate_users_cache_entries", "Entries held by a cache.");
        registry.register(Box::new(Self {
            queue,
            queued: IntGauge::new(
                "tidegate_users_hash_queue",
                "Password hashes waiting for a thread.",
            )?,
            in_flight: IntGauge::new(
                "tidegate_users_hash_in_flight",
                "Password hashes being computed.",
            )?,
            caches,
            hits: by_cache(
                "tidegate_users_cache_hits_total",
                "Look-ups answered from memory.",
            )?,
            misses: by_cache(
                "tidegate_users_cache_misses_total",
                "Look-ups not in memory.",
            )?,
            entries: prometheus::IntGaugeVec::new(entries, &["cache"])?,
            scraping: std::sync::Mutex::new(()),
        }))
    }
}

impl Collector for Observed {
    fn desc(&self) -> Vec<&Desc> {
        let mut descs = self.queued.desc();
        descs.extend(self.in_flight.desc());
        descs.extend(self.hits.desc());
        descs.extend(self.misses.desc());
        descs.extend(self.entries.desc());
        descs
    }

    fn collect(&self) -> Vec<MetricFamily> {
        // One scrape at a time: the counters are set in two steps.
        let _one = self.scraping.lock();
        let queue = (self.queue)();
        self.queued.set(gauge(queue.queued as u64));
        self.in_flight.set(gauge(queue.in_flight as u64));
        for (name, read) in &self.caches {
            let stats = read();
            for (counter, value) in [(&self.hits, stats.hits), (&self.misses, stats.misses)] {
                let counter = counter.with_label_values(&[name]);
                counter.reset();
                counter.inc_by(value);
            }
            self.entries
                .with_label_values(&[name])
                .set(gauge(stats.entries));
        }
        let mut families = self.queued.collect();
        families.extend(self.in_flight.collect());
        families.extend(self.hits.collect());
        families.extend(self.misses.collect());
        families.extend(self.entries.collect());
        families
    }
}

/// How the statistics of a cache are read later.
pub(crate) fn reader<K, V>(cache: &Arc<cache::Cache<K, V>>) -> ReadCache
where
    K: Clone + Eq + std::hash::Hash + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    let cache = cache.clone();
    Box::new(move || cache.stats())
}

fn gauge(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
