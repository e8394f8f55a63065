//! Zones that others copy, and copies of others' zones.

use chassis::telemetry::{counter, family, gauge};
use prometheus::proto::{Metric, MetricFamily, MetricType};

use crate::serve::Shared;
use crate::transfer::{Outcome, SecondaryReport};

/// Every metric of transfers.
pub(super) fn families(shared: &Shared) -> Vec<MetricFamily> {
    let told = &shared.learned.told;
    let outcomes = Outcome::ALL;
    let sent = outcomes.map(|(outcome, name)| counter(&[("outcome", name)], told.counted(outcome)));
    let mut families = vec![
        family(
            "tidegate_dns_transfers_total",
            "Requests of other servers for a zone or its changes, by how they ended",
            MetricType::COUNTER,
            sent.to_vec(),
        ),
        family(
            "tidegate_dns_transfers",
            "Transfers to other servers that run",
            MetricType::GAUGE,
            vec![gauge(&[], f64::from(told.running()))],
        ),
    ];
    families.extend(secondaries(&shared.learned.secondaries.report()));
    // Without secondary zones there are none.
    families.retain(|family| !family.get_metric().is_empty());
    families
}

fn secondaries(reports: &[SecondaryReport]) -> Vec<MetricFamily> {
    let gauges = |name: &str, help: &str, of: &dyn Fn(&SecondaryReport) -> Option<u64>| {
        let metrics = each(reports, |labels, report| {
            of(report).map(|value| gauge(labels, value as f64))
        });
        family(name, help, MetricType::GAUGE, metrics)
    };
    let counters = |name: &str, help: &str, of: &dyn Fn(&SecondaryReport) -> u64| {
        let metrics = each(reports, |labels, report| Some(counter(labels, of(report))));
        family(name, help, MetricType::COUNTER, metrics)
    };
    let versions = |form: &str, of: fn(&SecondaryReport) -> u64| {
        each(reports, |labels, report| {
            Some(counter(&[labels, &[("form", form)]].concat(), of(report)))
        })
    };
    vec![
        gauges(
            "tidegate_dns_secondary_serial",
            "The version of a zone from a primary",
            &|report| report.serial.map(u64::from),
        ),
        gauges(
            "tidegate_dns_secondary_served",
            "1 while a zone from a primary is served: it has come, and has not expired",
            &|report| Some(report.served.into()),
        ),
        gauges(
            "tidegate_dns_secondary_heard_seconds",
            "Seconds since a primary was heard",
            &|report| report.heard_seconds,
        ),
        gauges(
            "tidegate_dns_secondary_expires_seconds",
            "Seconds until the zone is served no more, unless a primary is heard",
            &|report| report.expires_seconds,
        ),
        family(
            "tidegate_dns_secondary_versions_total",
            "Versions that came from primaries: whole, or as changes of the one before",
            MetricType::COUNTER,
            [
                versions("whole", |report| report.whole),
                versions("changes", |report| report.changes),
            ]
            .concat(),
        ),
        counters(
            "tidegate_dns_secondary_failures_total",
            "Looks at primaries that failed",
            &|report| report.failures,
        ),
    ]
}

fn each(
    reports: &[SecondaryReport],
    of: impl Fn(&[(&str, &str)], &SecondaryReport) -> Option<Metric>,
) -> Vec<Metric> {
    let metric = |report: &SecondaryReport| of(&[("zone", &report.zone)], report);
    reports.iter().filter_map(metric).collect()
}
