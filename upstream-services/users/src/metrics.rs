//! What the user services count. Labels are route templates and numbers, never what users sent.

mod store;

use std::sync::Arc;

use cache::{Cache, Remote, Source};
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry,
};

use crate::hashing::HashQueue;

pub(crate) use self::store::ObservedStore;

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
    /// Logins refused because of wrong passwords before.
    pub(crate) locked_out: IntCounter,
    /// Recovery messages by outcome.
    pub(crate) recoveries: IntCounterVec,
    /// Rows of the history that were not written.
    pub(crate) history_dropped: IntCounter,
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
        let recoveries = Opts::new(
            "tidegate_users_recovery_messages_total",
            "Recovery messages by outcome: sent, failed, dropped.",
        );
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
            locked_out: IntCounter::new(
                "tidegate_users_locked_out_total",
                "Passwords not looked at because too many before them were wrong.",
            )?,
            recoveries: IntCounterVec::new(recoveries, &["outcome"])?,
            history_dropped: IntCounter::new(
                "tidegate_users_history_dropped_total",
                "Logins that are missing in the history: its queue was full, or the database failed.",
            )?,
        };
        registry.register(Box::new(metrics.requests.clone()))?;
        registry.register(Box::new(metrics.duration.clone()))?;
        registry.register(Box::new(metrics.panics.clone()))?;
        registry.register(Box::new(metrics.reuse.clone()))?;
        registry.register(Box::new(metrics.locked_out.clone()))?;
        registry.register(Box::new(metrics.recoveries.clone()))?;
        registry.register(Box::new(metrics.history_dropped.clone()))?;
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
    stale: IntCounterVec,
    misses: IntCounterVec,
    remote_hits: IntCounterVec,
    loads: IntCounterVec,
    entries: IntGaugeVec,
    hot: IntGaugeVec,
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
        let hot = Opts::new(
            "tidegate_users_cache_hot_keys",
            "Keys with far more than their share of the look-ups in memory.",
        );
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
            stale: by_cache(
                "tidegate_users_cache_stale_total",
                "Look-ups answered from memory by what was past its time.",
            )?,
            misses: by_cache(
                "tidegate_users_cache_misses_total",
                "Look-ups not in memory.",
            )?,
            remote_hits: by_cache(
                "tidegate_users_cache_remote_hits_total",
                "Keys found on the servers that all processes share.",
            )?,
            loads: by_cache(
                "tidegate_users_cache_loads_total",
                "Keys that the store was asked for.",
            )?,
            entries: IntGaugeVec::new(entries, &["cache"])?,
            hot: IntGaugeVec::new(hot, &["cache"])?,
            scraping: std::sync::Mutex::new(()),
        }))
    }
}

impl Observed {
    fn counters(&self) -> [&IntCounterVec; 5] {
        [
            &self.hits,
            &self.stale,
            &self.misses,
            &self.remote_hits,
            &self.loads,
        ]
    }
}

impl Collector for Observed {
    fn desc(&self) -> Vec<&Desc> {
        let mut descs = self.queued.desc();
        descs.extend(self.in_flight.desc());
        for counter in self.counters() {
            descs.extend(counter.desc());
        }
        descs.extend(self.entries.desc());
        descs.extend(self.hot.desc());
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
            let values = [
                stats.hits,
                stats.stale,
                stats.misses,
                stats.remote_hits,
                stats.loads,
            ];
            for (counter, value) in self.counters().into_iter().zip(values) {
                set(&counter.with_label_values(&[name]), value);
            }
            self.entries
                .with_label_values(&[name])
                .set(gauge(stats.entries));
            self.hot
                .with_label_values(&[name])
                .set(gauge(stats.hot as u64));
        }
        let mut families = self.queued.collect();
        families.extend(self.in_flight.collect());
        for counter in self.counters() {
            families.extend(counter.collect());
        }
        families.extend(self.entries.collect());
        families.extend(self.hot.collect());
        families
    }
}

/// The servers that all processes share, by their address.
pub(crate) struct ObservedRemote {
    remote: Arc<Remote>,
    up: IntGaugeVec,
    missed: IntGaugeVec,
    failures: IntCounterVec,
    crowded: IntCounterVec,
    lost: IntCounterVec,
}

impl ObservedRemote {
    pub(crate) fn register(
        registry: &Registry,
        remote: Arc<Remote>,
    ) -> Result<(), prometheus::Error> {
        let gauge = |name: &str, help: &str| IntGaugeVec::new(Opts::new(name, help), &["server"]);
        let counter =
            |name: &str, help: &str| IntCounterVec::new(Opts::new(name, help), &["server"]);
        registry.register(Box::new(Self {
            remote,
            up: gauge(
                "tidegate_users_remote_up",
                "1 while all of a shared cache server answers.",
            )?,
            missed: gauge(
                "tidegate_users_remote_missed",
                "Deletions that a shared cache server is still to be told.",
            )?,
            failures: counter(
                "tidegate_users_remote_failures_total",
                "Requests that a shared cache server failed.",
            )?,
            crowded: counter(
                "tidegate_users_remote_crowded_total",
                "Requests to a shared cache server that were given up because all connections to it were in use.",
            )?,
            lost: counter(
                "tidegate_users_remote_lost_total",
                "Deletions that it will not be told, because there were too many.",
            )?,
        }))
    }

    fn all(&self) -> [&dyn Collector; 5] {
        [
            &self.up,
            &self.missed,
            &self.failures,
            &self.crowded,
            &self.lost,
        ]
    }
}

impl Collector for ObservedRemote {
    fn desc(&self) -> Vec<&Desc> {
        self.all().into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        for server in self.remote.stats() {
            let name = [&*server.name];
            self.up.with_label_values(&name).set(server.up.into());
            self.missed
                .with_label_values(&name)
                .set(gauge(server.missed as u64));
            set(&self.failures.with_label_values(&name), server.failures);
            set(&self.crowded.with_label_values(&name), server.crowded);
            set(&self.lost.with_label_values(&name), server.lost);
        }
        self.all()
            .into_iter()
            .flat_map(Collector::collect)
            .collect()
    }
}

/// A counter that somebody else counts: it only grows.
fn set(counter: &IntCounter, value: u64) {
    counter.inc_by(value.saturating_sub(counter.get()));
}

/// How the statistics of a cache are read later.
pub(crate) fn reader<S: Source>(cache: &Cache<S>) -> ReadCache {
    let cache = cache.clone();
    Box::new(move || cache.stats())
}

fn gauge(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
