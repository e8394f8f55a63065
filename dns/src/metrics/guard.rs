//! Cookies, answers beyond the limit, lines that were not logged, and faults of ours.

use chassis::telemetry::{counter, family};
use prometheus::proto::{MetricFamily, MetricType};

use super::{COOKIES, COOKIES_AT, LIMITED, LIMITED_AT, PANICS};
use crate::serve::Shared;

pub(super) fn families(shared: &Shared) -> Vec<MetricFamily> {
    let counts = &shared.counts;
    let mut families = vec![
        counts.by(
            "tidegate_dns_cookies_total",
            "Queries with a cookie",
            "cookie",
            &places(COOKIES_AT, &COOKIES),
        ),
        family(
            "tidegate_dns_limited_total",
            "Answers over UDP beyond the limit of their network",
            MetricType::COUNTER,
            places(LIMITED_AT, &LIMITED)
                .into_iter()
                .map(|(at, action)| counter(&[("action", action)], counts.0.sum(at)))
                .collect(),
        ),
        family(
            "tidegate_dns_panics_total",
            "Faults of ours that cost a batch of answers over UDP",
            MetricType::COUNTER,
            vec![counter(&[], counts.0.sum(PANICS))],
        ),
    ];
    families.extend(shared.state.load().query_log.as_ref().map(|log| {
        family(
            "tidegate_dns_query_log_dropped_total",
            "Lines of the query log that were not written",
            MetricType::COUNTER,
            vec![counter(&[], log.dropped())],
        )
    }));
    families
}

/// The values of a label, and where each is counted.
fn places<'a>(first: usize, values: &[&'a str]) -> Vec<(usize, &'a str)> {
    let values = values.iter().enumerate();
    values.map(|(at, value)| (first + at, *value)).collect()
}
