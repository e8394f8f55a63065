//! What has happened to datagrams.

use chassis::telemetry::{counter, family};
use prometheus::proto::{MetricFamily, MetricType};

use crate::config::Mode;
use crate::datagram::Counter;
use crate::forward::Transport;
use crate::state::{ListenerState, State};

/// A family of counters, each with the value of one more label.
type Counters<'a> = (&'a str, &'a str, &'a str, Vec<(Counter, &'a str)>);

pub(super) fn families(state: &State) -> Vec<MetricFamily> {
    let ours = |one: &&ListenerState| one.transport == Transport::Udp && one.mode == Mode::Proxy;
    let listeners: Vec<_> = state.listeners.iter().filter(ours).collect();
    if listeners.is_empty() {
        return Vec::new();
    }
    let dropped = Counter::ALL.into_iter();
    let dropped = dropped.filter_map(|counter| Some((counter, counter.dropped()?)));
    let all: [Counters<'_>; 4] = [
        (
            "tidegate_l4_datagrams_total",
            "Datagrams that went on to endpoints (up) and to clients (down)",
            "direction",
            vec![(Counter::Up, "up"), (Counter::Down, "down")],
        ),
        (
            "tidegate_l4_datagram_octets_total",
            "Octets of datagrams to endpoints (up) and to clients (down)",
            "direction",
            vec![(Counter::OctetsUp, "up"), (Counter::OctetsDown, "down")],
        ),
        (
            "tidegate_l4_datagrams_dropped_total",
            "Datagrams, and QUIC connections that begin, that went nowhere",
            "reason",
            dropped.collect(),
        ),
        (
            "tidegate_l4_session_events_total",
            "Sessions that began, went to another endpoint, or were ended for others; datagrams that endpoints refused; \
             QUIC packets of unknown connections",
            "event",
            vec![
                (Counter::Sessions, "begun"),
                (Counter::Moved, "moved"),
                (Counter::Evicted, "evicted"),
                (Counter::Refused, "refused"),
                (Counter::UnknownId, "unknown_id"),
            ],
        ),
    ];
    let written = all.into_iter().map(|(name, help, label, counters)| {
        let metrics = listeners.iter().flat_map(|listener| {
            counters.iter().map(|(what, value)| {
                let labels = [("listener", &*listener.name), (label, *value)];
                counter(&labels, listener.datagrams.sum(*what))
            })
        });
        family(name, help, MetricType::COUNTER, metrics.collect())
    });
    written.collect()
}
