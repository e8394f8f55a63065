//! What has happened, for Prometheus.

mod datagrams;

use std::sync::Arc;

use chassis::telemetry::{Cells, counter, family, gauge};
use prometheus::core::{Collector, Desc};
use prometheus::proto::{MetricFamily, MetricType};

use crate::balance::{Counted, Endpoint};
use crate::forwarding;
use crate::serve::{Ending, Shared};
use crate::state::ListenerState;

/// What has happened at a listener, since it is known.
#[derive(Debug)]
pub(crate) struct ListenerCounts(Cells);

/// After the endings.
const UP: usize = Ending::ALL.len();
const DOWN: usize = UP + 1;
const ACCEPTED: usize = DOWN + 1;
const NOT_ACCEPTED: usize = ACCEPTED + 1;

impl Default for ListenerCounts {
    fn default() -> Self {
        Self(Cells::new(NOT_ACCEPTED + 1))
    }
}

impl ListenerCounts {
    /// Counts a failure to accept.
    pub(crate) fn not_accepted(&self) {
        self.0.add(NOT_ACCEPTED, 1);
    }

    /// Counts a connection that was accepted.
    pub(crate) fn accepted(&self) {
        self.0.add(ACCEPTED, 1);
    }

    /// Counts how a connection ended, and what it has carried, in octets.
    pub(crate) fn ended(&self, ending: Ending, up: u64, down: u64) {
        self.0.add(ending as usize, 1);
        self.0.add(UP, up);
        self.0.add(DOWN, down);
    }
}

/// Tells Prometheus.
pub(crate) struct L4Collector(pub(crate) Arc<Shared>);

impl Collector for L4Collector {
    fn desc(&self) -> Vec<&Desc> {
        Vec::new()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let state = self.0.state.load();
        let mut accepted = Vec::new();
        let mut ended = Vec::new();
        let mut octets = Vec::new();
        let mut open = Vec::new();
        for listener in &state.listeners {
            let name = ("listener", &*listener.name);
            let counts = &listener.counts.0;
            accepted.push(counter(&[name], counts.sum(ACCEPTED)));
            open.push(gauge(&[name], listener.admission.open().into()));
            octets.push(counter(&[name, ("direction", "up")], counts.sum(UP)));
            octets.push(counter(&[name, ("direction", "down")], counts.sum(DOWN)));
            for ending in Ending::ALL {
                let labels = [name, ("ending", ending.name())];
                ended.push(counter(&labels, counts.sum(ending as usize)));
            }
        }
        let mut families = vec![
            failures(&state.listeners),
            handshakes(&state.listeners),
            family(
                "tidegate_l4_accepted_total",
                "Connections and sessions of clients",
                MetricType::COUNTER,
                accepted,
            ),
            family(
                "tidegate_l4_open",
                "Connections and sessions of clients that are open",
                MetricType::GAUGE,
                open,
            ),
            family(
                "tidegate_l4_ended_total",
                "Connections and sessions by how they ended",
                MetricType::COUNTER,
                ended,
            ),
            family(
                "tidegate_l4_octets_total",
                "Octets from clients (up) and to clients (down), counted when a connection ends",
                MetricType::COUNTER,
                octets,
            ),
        ];
        families.extend(datagrams::families(&state));
        families.extend(endpoints(&self.0));
        families.extend(forwarding::families(&self.0));
        families.extend(self.0.direct_return.families());
        families
    }
}

fn failures(listeners: &[ListenerState]) -> MetricFamily {
    let failures = listeners.iter().map(|listener| {
        let failed = listener.counts.0.sum(NOT_ACCEPTED);
        counter(&[("listener", &*listener.name)], failed)
    });
    family(
        "tidegate_l4_accept_failures_total",
        "Times that no connection could be accepted, above all for want of descriptors",
        MetricType::COUNTER,
        failures.collect(),
    )
}

fn handshakes(listeners: &[ListenerState]) -> MetricFamily {
    let handshakes = listeners.iter().flat_map(|listener| {
        let counted = listener.handshakes.counted();
        counted.map(|(outcome, count)| {
            let labels = [("listener", &*listener.name), ("outcome", outcome)];
            counter(&labels, count)
        })
    });
    family(
        "tidegate_l4_tls_handshakes_total",
        "Handshakes of TLS that ends here, by how they ended",
        MetricType::COUNTER,
        handshakes.collect(),
    )
}

fn endpoints(shared: &Shared) -> Vec<MetricFamily> {
    const COUNTERS: [(Counted, &str, &str); 3] = [
        (
            Counted::Connected,
            "tidegate_l4_endpoint_connections_total",
            "Connections to endpoints",
        ),
        (
            Counted::Failed,
            "tidegate_l4_endpoint_failures_total",
            "Attempts to connect to endpoints that failed",
        ),
        (
            Counted::Full,
            "tidegate_l4_endpoint_full_total",
            "Times that an endpoint was passed over because of its limit",
        ),
    ];
    let state = shared.state.load();
    let endpoints: Vec<_> = state
        .clusters
        .values()
        .flat_map(|cluster| {
            let endpoints = cluster.cluster.endpoints().iter();
            endpoints.map(|endpoint| (&*cluster.name, endpoint.address.to_string(), endpoint))
        })
        .collect();
    let mut families = Vec::new();
    for (counted, name, help) in COUNTERS {
        let metrics = endpoints.iter().map(|(cluster, address, endpoint)| {
            let labels = [("cluster", *cluster), ("endpoint", address)];
            counter(&labels, endpoint.counts.sum(counted))
        });
        families.push(family(name, help, MetricType::COUNTER, metrics.collect()));
    }
    let of = |name: &str, help: &str, value: fn(&Endpoint) -> f64| {
        let metrics = endpoints.iter().map(|(cluster, address, endpoint)| {
            let labels = [("cluster", *cluster), ("endpoint", address)];
            gauge(&labels, value(endpoint))
        });
        family(name, help, MetricType::GAUGE, metrics.collect())
    };
    families.push(of(
        "tidegate_l4_endpoint_open",
        "Connections that endpoints have",
        |endpoint| endpoint.open().into(),
    ));
    families.push(of(
        "tidegate_l4_endpoint_well",
        "Whether endpoints are well (1) or not (0)",
        |endpoint| f64::from(u8::from(endpoint.is_well())),
    ));
    families.push(of(
        "tidegate_l4_endpoint_weight",
        "The weights of endpoints",
        |endpoint| endpoint.weight().into(),
    ));
    families
}
