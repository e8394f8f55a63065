//! What the kernel has counted, for Prometheus.

use chassis::telemetry::{counter, family, gauge};
use prometheus::proto::{MetricFamily, MetricType};

use super::run::{EndpointStatus, Status};

/// An amount of an endpoint: the name, the help, and where it is.
type Amount = (&'static str, &'static str, fn(&EndpointStatus) -> u64);

const AMOUNTS: [Amount; 3] = [
    (
        "tidegate_l4_dr_packets_total",
        "Packets of clients that the kernel handed to endpoints",
        |endpoint| endpoint.counters.packets,
    ),
    (
        "tidegate_l4_dr_octets_total",
        "Their octets, with the headers of Ethernet",
        |endpoint| endpoint.counters.bytes,
    ),
    (
        "tidegate_l4_dr_flows_total",
        "Flows that were led to endpoints: new ones, and those of others that went",
        |endpoint| endpoint.counters.flows,
    ),
];

pub(super) fn families(status: &Status) -> Vec<MetricFamily> {
    let mut families = Vec::new();
    for (name, help, amount) in AMOUNTS {
        let metrics = status.endpoints.iter().map(|endpoint| {
            let address = endpoint.address.to_string();
            counter(&labels(endpoint, &address), amount(endpoint))
        });
        families.push(family(name, help, MetricType::COUNTER, metrics.collect()));
    }
    let live = status.endpoints.iter().map(|endpoint| {
        let address = endpoint.address.to_string();
        gauge(
            &labels(endpoint, &address),
            f64::from(u8::from(endpoint.live)),
        )
    });
    families.push(family(
        "tidegate_l4_dr_endpoint_live",
        "Whether an endpoint is well and its hardware address known (1), so that packets are led to it",
        MetricType::GAUGE,
        live.collect(),
    ));
    let events = status.events.iter();
    families.push(family(
        "tidegate_l4_dr_events_total",
        "Packets for services without an endpoint, with a time to live that was over, ICMP errors for endpoints; \
         flows that were not kept",
        MetricType::COUNTER,
        events
            .map(|(event, count)| counter(&[("event", event)], *count))
            .collect(),
    ));
    let attached = status.attached.iter().map(|(interface, native)| {
        let kind = if *native { "native" } else { "generic" };
        gauge(&[("interface", interface), ("kind", kind)], 1.0)
    });
    families.push(family(
        "tidegate_l4_dr_attached",
        "The interfaces that the program is on",
        MetricType::GAUGE,
        attached.collect(),
    ));
    families
}

fn labels<'a>(endpoint: &'a EndpointStatus, address: &'a str) -> [(&'a str, &'a str); 2] {
    [("listener", &endpoint.service), ("endpoint", address)]
}
