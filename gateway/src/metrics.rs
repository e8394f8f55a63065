//! Counters of requests by route and of endpoints, kept per thread and summed when scraped.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use arc_swap::ArcSwapOption;
use chassis::telemetry::{Cells, DurationBuckets, counter, family, gauge, labelled};
use prometheus::core::{Collector, Desc};
use prometheus::proto::{MetricFamily, MetricType};

use crate::cluster::Count;
use crate::serve::Excess;
use crate::state::State;

/// What is counted for each route; survives reloads by the route's name.
#[derive(Debug)]
pub(crate) struct RouteCounters(Cells);

const STATUSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];
const DURATION: DurationBuckets = DurationBuckets::at(STATUSES.len());
const RECEIVED: usize = STATUSES.len() + DurationBuckets::COUNTERS;
const SENT: usize = RECEIVED + 1;

impl Default for RouteCounters {
    fn default() -> Self {
        Self(Cells::new(SENT + 1))
    }
}

impl RouteCounters {
    /// Counts a request that has ended; status 0 when the client got none.
    pub(crate) fn count(&self, status: u16, took: Duration, received: u64, sent: u64) {
        let class = usize::from(status / 100).min(STATUSES.len() - 1);
        self.0.add(class, 1);
        DURATION.observe(&self.0, took);
        self.0.add(RECEIVED, received);
        self.0.add(SENT, sent);
    }
}

/// Tells Prometheus what the routes and endpoints of the current state have counted.
pub(crate) struct StateCollector(pub(crate) Arc<ArcSwapOption<State>>);

impl Collector for StateCollector {
    fn desc(&self) -> Vec<&Desc> {
        Vec::new()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let Some(state) = self.0.load_full() else {
            return Vec::new();
        };
        let mut families = route_families(&state);
        families.extend(endpoint_families(&state));
        families.push(refusals(&state));
        families.extend(listener_families(&state));
        families.extend(tls_families(&state));
        families
    }
}

fn route_families(state: &State) -> Vec<MetricFamily> {
    let mut requests = Vec::new();
    let mut durations = Vec::new();
    let mut received = Vec::new();
    let mut sent = Vec::new();
    let unmatched = ("", &state.unmatched.counters);
    let named = state
        .routes
        .iter()
        .map(|route| (&*route.name, &route.counters));
    for (name, counters) in named.chain([unmatched]) {
        let cells = &counters.0;
        for (at, status) in STATUSES.iter().enumerate() {
            if cells.sum(at) > 0 {
                requests.push(counter(
                    &[("route", name), ("status", status)],
                    cells.sum(at),
                ));
            }
        }
        let mut duration = labelled(&[("route", name)]);
        duration.set_histogram(DURATION.collect(cells));
        durations.push(duration);
        received.push(counter(&[("route", name)], cells.sum(RECEIVED)));
        sent.push(counter(&[("route", name)], cells.sum(SENT)));
    }
    vec![
        family(
            "tidegate_gateway_requests_total",
            "Requests by route (empty: none matched) and class of status",
            MetricType::COUNTER,
            requests,
        ),
        family(
            "tidegate_gateway_request_duration_seconds",
            "From the head of a request to the last byte of its response",
            MetricType::HISTOGRAM,
            durations,
        ),
        family(
            "tidegate_gateway_received_bytes_total",
            "Bytes of request bodies",
            MetricType::COUNTER,
            received,
        ),
        family(
            "tidegate_gateway_sent_bytes_total",
            "Bytes of response bodies",
            MetricType::COUNTER,
            sent,
        ),
    ]
}

fn endpoint_families(state: &State) -> Vec<MetricFamily> {
    let endpoints = || {
        state.clusters.values().flat_map(|cluster| {
            let members = cluster.members.iter();
            members.map(move |(endpoint, weight)| (&*cluster.name, endpoint, weight))
        })
    };
    let counters = |what: Count| {
        let metric = |(cluster, endpoint, _): (&str, &Arc<crate::cluster::Endpoint>, &u32)| {
            let labels = [
                ("cluster", cluster),
                ("endpoint", endpoint.address.as_str()),
            ];
            counter(&labels, endpoint.counted(what))
        };
        endpoints().map(metric).collect::<Vec<_>>()
    };
    let healthy = endpoints().map(|(cluster, endpoint, _)| {
        let labels = [
            ("cluster", cluster),
            ("endpoint", endpoint.address.as_str()),
        ];
        gauge(&labels, if endpoint.is_healthy() { 1.0 } else { 0.0 })
    });
    vec![
        family(
            "tidegate_gateway_endpoint_healthy",
            "1 while the endpoint gets requests",
            MetricType::GAUGE,
            healthy.collect(),
        ),
        family(
            "tidegate_gateway_endpoint_requests_total",
            "Requests sent to the endpoint, tries included",
            MetricType::COUNTER,
            counters(Count::Requests),
        ),
        family(
            "tidegate_gateway_endpoint_connect_failures_total",
            "Connections to the endpoint that failed",
            MetricType::COUNTER,
            counters(Count::ConnectFailures),
        ),
        family(
            "tidegate_gateway_endpoint_checks_passed_total",
            "Health checks answered well",
            MetricType::COUNTER,
            counters(Count::ChecksPassed),
        ),
        family(
            "tidegate_gateway_endpoint_checks_failed_total",
            "Health checks answered badly or not at all",
            MetricType::COUNTER,
            counters(Count::ChecksFailed),
        ),
    ]
}

fn refusals(state: &State) -> MetricFamily {
    let counted = state.listeners.iter().flat_map(|listener| {
        let counted = listener.refusals.counted();
        counted.map(|(reason, count)| {
            counter(&[("listener", &listener.name), ("reason", reason)], count)
        })
    });
    family(
        "tidegate_gateway_refused_total",
        "Requests and connections that were refused for what they are",
        MetricType::COUNTER,
        counted.collect(),
    )
}

fn listener_families(state: &State) -> Vec<MetricFamily> {
    let mut open = Vec::new();
    let mut refused = Vec::new();
    for listener in &state.listeners {
        let name = &*listener.name;
        open.push(gauge(&[("listener", name)], listener.counts.open() as f64));
        for refusal in Excess::ALL {
            let labels = [("listener", name), ("reason", refusal.name())];
            refused.push(counter(&labels, listener.counts.refused(refusal)));
        }
    }
    vec![
        family(
            "tidegate_gateway_connections",
            "Connections of clients that are open",
            MetricType::GAUGE,
            open,
        ),
        family(
            "tidegate_gateway_connections_refused_total",
            "Connections that were closed at once because of a limit, and pauses of 50 ms for lack of descriptors",
            MetricType::COUNTER,
            refused,
        ),
    ]
}

fn tls_families(state: &State) -> Vec<MetricFamily> {
    let mut handshakes = Vec::new();
    let mut expiry = Vec::new();
    for listener in &state.listeners {
        let Some(tls) = &listener.tls else { continue };
        let listener = &*listener.name;
        for (outcome, count) in tls.handshakes.counted() {
            let labels = [("listener", listener), ("outcome", outcome)];
            handshakes.push(counter(&labels, count));
        }
        for (file, source) in &tls.dates.certificates {
            let Some(certificate) = source.certificate() else {
                continue;
            };
            let file = file.to_string_lossy();
            let labels = [
                ("listener", listener),
                ("name", &*certificate.title),
                ("file", &*file),
            ];
            let since = certificate.not_after.duration_since(UNIX_EPOCH);
            expiry.push(gauge(&labels, since.unwrap_or_default().as_secs() as f64));
        }
    }
    vec![
        family(
            "tidegate_gateway_tls_handshakes_total",
            "TLS handshakes with clients by how they ended",
            MetricType::COUNTER,
            handshakes,
        ),
        family(
            "tidegate_gateway_certificate_expiry_timestamp_seconds",
            "Until when a certificate is valid, in Unix seconds",
            MetricType::GAUGE,
            expiry,
        ),
    ]
}
