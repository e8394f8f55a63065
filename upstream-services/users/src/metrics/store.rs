//! How the store's servers do, read when it is scraped.

use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{GaugeVec, IntCounterVec, IntGaugeVec, Opts, Registry};
use store::{ReplicaStatus, ShardStatus, Standing, Store};

use super::set;

/// Shards and their replicas, by number.
pub(crate) struct ObservedStore {
    store: Arc<Store>,
    up: IntGaugeVec,
    used: IntGaugeVec,
    fit: IntGaugeVec,
    read_only: IntGaugeVec,
    trips: IntCounterVec,
    protected: IntCounterVec,
    crowded: IntCounterVec,
    replica_up: IntGaugeVec,
    replica_fit: IntGaugeVec,
    unwaited: IntCounterVec,
    lag: GaugeVec,
    epoch: prometheus::IntGauge,
}

impl ObservedStore {
    pub(crate) fn register(
        registry: &Registry,
        store: Arc<Store>,
    ) -> Result<(), prometheus::Error> {
        registry.register(Box::new(Self {
            store,
            up: gauge(SHARD, "shard_up", "1 while a shard's primary answers.")?,
            used: gauge(
                SHARD,
                "shard_used",
                "0 while a shard has not been used since the start, because its primary was not there or not the right one.",
            )?,
            fit: gauge(
                SHARD,
                "shard_fit",
                "0 while a shard's primary is known to hold something else.",
            )?,
            read_only: gauge(
                SHARD,
                "shard_read_only",
                "1 while a shard's primary takes no writes.",
            )?,
            trips: counter(
                SHARD,
                "shard_trips_total",
                "How often a shard's primary has ceased to answer.",
            )?,
            protected: counter(
                SHARD,
                "shard_protected_total",
                "Reads that were refused to protect a primary whose replicas are unfit.",
            )?,
            crowded: counter(
                SHARD,
                "shard_crowded_total",
                "Requests that were refused because too many waited for a connection.",
            )?,
            replica_up: gauge(REPLICA, "replica_up", "1 while a replica answers.")?,
            replica_fit: gauge(
                REPLICA,
                "replica_fit",
                "1 while a replica is known to hold its shard.",
            )?,
            unwaited: counter(
                REPLICA,
                "replica_unwaited_total",
                "Positions that a replica was not waited for to reach, because it was for too many.",
            )?,
            lag: GaugeVec::new(
                opts(
                    "replica_lag_seconds",
                    "How far a replica is behind at most; absent while that is not known.",
                ),
                REPLICA,
            )?,
            epoch: prometheus::IntGauge::with_opts(opts(
                "shard_map_epoch",
                "The epoch of the shard map in use.",
            ))?,
        }))
    }

    fn all(&self) -> [&dyn Collector; 12] {
        [
            &self.up,
            &self.used,
            &self.fit,
            &self.read_only,
            &self.trips,
            &self.protected,
            &self.crowded,
            &self.replica_up,
            &self.replica_fit,
            &self.unwaited,
            &self.lag,
            &self.epoch,
        ]
    }

    fn observe(&self, status: &ShardStatus) {
        let number = status.number.to_string();
        let shard = [&*number];
        self.up.with_label_values(&shard).set(status.well.into());
        let used = self.used.with_label_values(&shard);
        used.set(status.kept_out.is_none().into());
        let fit = matches!(status.standing, Standing::Fit | Standing::Unknown);
        self.fit.with_label_values(&shard).set(fit.into());
        let read_only = self.read_only.with_label_values(&shard);
        read_only.set(status.read_only.into());
        set(&self.trips.with_label_values(&shard), status.trips);
        set(&self.protected.with_label_values(&shard), status.protected);
        set(&self.crowded.with_label_values(&shard), status.crowded);
    }

    fn observe_replica(&self, shard: u16, place: usize, replica: &ReplicaStatus) {
        let (number, place) = (shard.to_string(), place.to_string());
        let labels = [&*number, &*place];
        let up = self.replica_up.with_label_values(&labels);
        up.set(replica.well.into());
        let fit = self.replica_fit.with_label_values(&labels);
        fit.set((replica.standing == Standing::Fit).into());
        set(&self.unwaited.with_label_values(&labels), replica.unwaited);
        match replica.lag {
            Some(lag) => self.lag.with_label_values(&labels).set(lag.as_secs_f64()),
            None => drop(self.lag.remove_label_values(&labels)),
        }
    }
}

impl Collector for ObservedStore {
    fn desc(&self) -> Vec<&Desc> {
        self.all().into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.epoch.set(self.store.map().epoch());
        for shard in self.store.shards() {
            let status = shard.status();
            self.observe(&status);
            for (place, replica) in status.replicas.iter().enumerate() {
                self.observe_replica(status.number, place, replica);
            }
        }
        self.all()
            .into_iter()
            .flat_map(Collector::collect)
            .collect()
    }
}

const SHARD: &[&str] = &["shard"];
const REPLICA: &[&str] = &["shard", "replica"];

fn opts(name: &str, help: &str) -> Opts {
    Opts::new(format!("tidegate_users_{name}"), help)
}

fn gauge(labels: &[&str], name: &str, help: &str) -> Result<IntGaugeVec, prometheus::Error> {
    IntGaugeVec::new(opts(name, help), labels)
}

fn counter(labels: &[&str], name: &str, help: &str) -> Result<IntCounterVec, prometheus::Error> {
    IntCounterVec::new(opts(name, help), labels)
}
