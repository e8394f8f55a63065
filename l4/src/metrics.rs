//! What has happened, for Prometheus.

mod datagrams;

use std::sync::Arc;
use std::time::Duration;

use chassis::telemetry::{Cells, DurationBuckets, counter, family, gauge, labelled};
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
const SETUP: DurationBuckets = DurationBuckets::at(NOT_ACCEPTED + 1);

impl Default for ListenerCounts {
    fn default() -> Self {
        Self(Cells::new(NOT_ACCEPTED + 1 + DurationBuckets::COUNTERS))
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

    /// Counts how long it took until an endpoint had a connection.
    pub(crate) fn set_up(&self, after: Duration) {
        SETUP.observe(&self.0, after);
    }

    /// Counts how a connection ended, and what it has carried, in octets.
    pub(crate) fn ended(&self, ending: Ending, up: u64, down: u64) {
        self.0.add(ending as usize, 1);
        self.0.add(UP, up);
        self.0.add(DOWN, down);
    }

    /// How many connections have ended so.
    #[cfg(test)]
    pub(crate) fn count(&self, ending: Ending) -> u64 {
        self.0.sum(ending as usize)
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
        let mut families = listeners(&state.listeners);
        families.extend(state.connection_log.as_ref().map(|log| {
            family(
                "tidegate_l4_connection_log_dropped_total",
                "Lines of the log of connections that were not written",
                MetricType::COUNTER,
                vec![counter(&[], log.dropped())],
            )
        }));
        families.extend(datagrams::families(&state));
        families.extend(endpoints(&self.0));
        families.extend(forwarding::families(&self.0));
        families.extend(self.0.direct_return.families());
        families.push(checks(&self.0));
        families
    }
}

fn listeners(listeners: &[ListenerState]) -> Vec<MetricFamily> {
    let endings = Ending::ALL.map(|ending| [("ending", ending.name())]);
    let endings = Ending::ALL.iter().zip(&endings);
    let endings: Vec<_> = endings
        .map(|(ending, labels)| (*ending as usize, &labels[..]))
        .collect();
    let all: [Counters<'_>; 4] = [
        (
            "tidegate_l4_accept_failures_total",
            "Times that no connection could be accepted, above all for want of descriptors",
            &[(NOT_ACCEPTED, &[])],
        ),
        (
            "tidegate_l4_accepted_total",
            "Connections and sessions of clients",
            &[(ACCEPTED, &[])],
        ),
        (
            "tidegate_l4_ended_total",
            "Connections and sessions by how they ended",
            &endings,
        ),
        (
            "tidegate_l4_octets_total",
            "Octets from clients (up) and to clients (down), counted when a connection ends",
            &[
                (UP, &[("direction", "up")]),
                (DOWN, &[("direction", "down")]),
            ],
        ),
    ];
    let mut families: Vec<_> = all
        .into_iter()
        .map(|one| counters(listeners, one))
        .collect();
    families.extend(measured(listeners));
    families
}

/// Counters of listeners: name, help, and each with its place and more labels.
type Counters<'a> = (&'a str, &'a str, &'a [(usize, &'a [(&'a str, &'a str)])]);

fn counters(listeners: &[ListenerState], (name, help, of): Counters<'_>) -> MetricFamily {
    let mut metrics = Vec::new();
    for listener in listeners {
        for (counted, labels) in of {
            let labels = [&[("listener", &*listener.name)], *labels].concat();
            metrics.push(counter(&labels, listener.counts.0.sum(*counted)));
        }
    }
    family(name, help, MetricType::COUNTER, metrics)
}

/// What is more than counted in one way.
fn measured(listeners: &[ListenerState]) -> [MetricFamily; 3] {
    let open = listeners.iter().map(|listener| {
        let labels = [("listener", &*listener.name)];
        gauge(&labels, listener.admission.open().into())
    });
    let handshakes = listeners.iter().flat_map(|listener| {
        let counted = listener.handshakes.counted();
        let name = ("listener", &*listener.name);
        counted.map(move |(outcome, count)| counter(&[name, ("outcome", outcome)], count))
    });
    let setups = listeners.iter().map(|listener| {
        let mut setup = labelled(&[("listener", &*listener.name)]);
        setup.set_histogram(SETUP.collect(&listener.counts.0));
        setup
    });
    [
        family(
            "tidegate_l4_open",
            "Connections and sessions of clients that are open",
            MetricType::GAUGE,
            open.collect(),
        ),
        family(
            "tidegate_l4_tls_handshakes_total",
            "Handshakes of TLS that ends here, by how they ended",
            MetricType::COUNTER,
            handshakes.collect(),
        ),
        family(
            "tidegate_l4_setup_seconds",
            "From accepting a connection until an endpoint had it, with the time that the client took to say where to",
            MetricType::HISTOGRAM,
            setups.collect(),
        ),
    ]
}

fn checks(shared: &Shared) -> MetricFamily {
    let report = shared.report();
    let mut metrics = Vec::new();
    for cluster in &report.clusters {
        for endpoint in &cluster.endpoints {
            let address = endpoint.address.to_string();
            let labels = [("cluster", cluster.name.as_str()), ("endpoint", &address)];
            let results = [
                ("passed", endpoint.checks_passed),
                ("failed", endpoint.checks_failed),
            ];
            let counted = results.map(|(result, count)| {
                counter(&[&labels[..], &[("result", result)]].concat(), count)
            });
            metrics.extend(counted);
        }
    }
    family(
        "tidegate_l4_endpoint_checks_total",
        "Checks of endpoints; those with the same check at the same address share them",
        MetricType::COUNTER,
        metrics,
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
