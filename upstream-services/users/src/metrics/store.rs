//! How the store's servers do, read when it is scraped.

use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{GaugeVec, IntCounterVec, IntGaugeVec, Opts, Registry};
use store::Store;

use super::set;

/// Shards and their replicas, by number.
pub(crate) struct ObservedStore {
    store: Arc<Store>,
    up: IntGaugeVec,
    trips: IntCounterVec,
    protected: IntCounterVec,
    replica_up: IntGaugeVec,
    lag: GaugeVec,
    epoch: prometheus::IntGauge,
}

impl ObservedStore {
    pub(crate) fn register(
        registry: &Registry,
        store: Arc<Store>,
    ) -> Result<(), prometheus::Error> {
        let opts = |name: &str, help: &str| Opts::new(format!("tidegate_users_{name}"), help);
        let of_shard = &["shard"];
        let of_replica = &["shard", "replica"];
        registry.register(Box::new(Self {
            store,
            up: IntGaugeVec::new(
                opts("shard_up", "1 while a shard's primary answers."),
                of_shard,
            )?,
            trips: IntCounterVec::new(
                opts(
                    "shard_trips_total",
                    "How often a shard's primary has ceased to answer.",
                ),
                of_shard,
            )?,
            protected: IntCounterVec::new(
                opts(
                    "shard_protected_total",
                    "Reads that were refused to protect a primary whose replicas are unfit.",
                ),
                of_shard,
            )?,
            replica_up: IntGaugeVec::new(
                opts("replica_up", "1 while a replica answers."),
                of_replica,
            )?,
            lag: GaugeVec::new(
                opts(
                    "replica_lag_seconds",
                    "How far a replica is behind at most; absent while that is not known.",
                ),
                of_replica,
            )?,
            epoch: prometheus::IntGauge::with_opts(opts(
                "shard_map_epoch",
                "The epoch of the shard map in use.",
            ))?,
        }))
    }

    fn all(&self) -> [&dyn Collector; 6] {
        [
            &self.up,
            &self.trips,
            &self.protected,
            &self.replica_up,
            &self.lag,
            &self.epoch,
        ]
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
            let number = status.number.to_string();
            let shard = [&*number];
            self.up.with_label_values(&shard).set(status.well.into());
            set(&self.trips.with_label_values(&shard), status.trips);
            set(&self.protected.with_label_values(&shard), status.protected);
            for (place, replica) in status.replicas.iter().enumerate() {
                let place = place.to_string();
                let labels = [&*number, &*place];
                let up = self.replica_up.with_label_values(&labels);
                up.set(replica.well.into());
                match replica.lag {
                    Some(lag) => self.lag.with_label_values(&labels).set(lag.as_secs_f64()),
                    None => drop(self.lag.remove_label_values(&labels)),
                }
            }
        }
        self.all()
            .into_iter()
            .flat_map(Collector::collect)
            .collect()
    }
}
