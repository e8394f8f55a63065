//! Connections, and what goes before queries over them: handshakes, certificates, HTTP.

use std::time::SystemTime;

use chassis::telemetry::{counter, family, gauge};
use http::StatusCode;
use prometheus::proto::{MetricFamily, MetricType};

use super::{STATUSES_AT, TRANSPORTS, Transport};
use crate::serve::Shared;
use crate::state::State;

/// The status codes of responses; the last stands for all others.
pub(super) const STATUSES: [(u16, &str); 8] = [
    (200, "200"),
    (400, "400"),
    (404, "404"),
    (405, "405"),
    (408, "408"),
    (413, "413"),
    (415, "415"),
    (0, "other"),
];

/// The place of a status among [`STATUSES`].
pub(super) fn place(status: StatusCode) -> usize {
    let mut codes = STATUSES.iter();
    let place = codes.position(|(code, _)| *code == status.as_u16());
    place.unwrap_or(STATUSES.len() - 1)
}

/// What is told of connections.
pub(super) fn families(shared: &Shared, state: &State) -> Vec<MetricFamily> {
    let open = shared.clients.by_transport();
    let connections = TRANSPORTS.iter().filter(|one| **one != Transport::Udp);
    let connections = connections
        .map(|one| gauge(&[("transport", one.name())], f64::from(open[*one as usize])))
        .collect();
    let statuses = STATUSES.iter().enumerate().map(|(at, (_, code))| {
        let count = shared.counts.0.sum(STATUSES_AT + at);
        counter(&[("code", code)], count)
    });
    let (mut handshakes, mut ends) = (Vec::new(), Vec::new());
    for listener in &state.listeners {
        let Some(tls) = &listener.tls else {
            continue;
        };
        let name = &*listener.name;
        for (outcome, count) in tls.handshakes.counted() {
            handshakes.push(counter(&[("listener", name), ("outcome", outcome)], count));
        }
        for certificate in &tls.certificates {
            let end = certificate.not_after.duration_since(SystemTime::UNIX_EPOCH);
            let end = end.map_or(0.0, |end| end.as_secs_f64());
            let labels = [("listener", name), ("name", &*certificate.title)];
            ends.push(gauge(&labels, end));
        }
    }
    let mut families = vec![
        family(
            "tidegate_dns_connections",
            "Connections by transport",
            MetricType::GAUGE,
            connections,
        ),
        family(
            "tidegate_dns_http_responses_total",
            "Responses over HTTP by status code",
            MetricType::COUNTER,
            statuses.collect(),
        ),
    ];
    let handshakes = (
        "tidegate_dns_tls_handshakes_total",
        "TLS handshakes by how they ended",
        MetricType::COUNTER,
        handshakes,
    );
    let ends = (
        "tidegate_dns_certificate_not_after_seconds",
        "When certificates expire, in Unix time",
        MetricType::GAUGE,
        ends,
    );
    for (name, help, kind, metrics) in [handshakes, ends] {
        if !metrics.is_empty() {
            families.push(family(name, help, kind, metrics));
        }
    }
    families
}
