//! What policies chose, and what is known of their endpoints.

use prometheus::proto::{Metric, MetricFamily, MetricType};

use super::{counter, family, labelled};
use crate::health::{EndpointReport, PolicyReport};
use crate::policy::Status;
use crate::serve::Shared;

/// Every metric of policies.
pub(super) fn families(shared: &Shared) -> Vec<MetricFamily> {
    let choices = shared.sites.all();
    let choices = choices
        .iter()
        .map(|(site, outcome, count)| counter(&[("site", site), ("outcome", outcome)], *count));
    let reports = shared.health.report();
    let checks = of_endpoints(&reports, |labels, one| {
        let results = [("passed", one.checks_passed), ("failed", one.checks_failed)];
        let counted = results
            .map(|(result, count)| counter(&[labels, &[("result", result)]].concat(), count));
        counted.to_vec()
    });
    let mut families = vec![
        family(
            "tidegate_dns_choices_total",
            "Answers that a policy chose, by the site that they lead to",
            choices.collect(),
        ),
        gauges(
            "tidegate_dns_endpoint_up",
            "1 while clients may be sent to the endpoint",
            of_endpoints(&reports, |labels, one| {
                let up = one.status == Status::Up;
                vec![gauge_of(labels, f64::from(u8::from(up)))]
            }),
        ),
        gauges(
            "tidegate_dns_endpoint_weight",
            "The weight that holds; 0 is drained",
            of_endpoints(&reports, |labels, one| {
                vec![gauge_of(labels, f64::from(one.weight))]
            }),
        ),
        family(
            "tidegate_dns_endpoint_checks_total",
            "Checks of the endpoint's probe; endpoints with the same probe share them",
            checks,
        ),
    ];
    // Without policies there are none.
    families.retain(|family| !family.get_metric().is_empty());
    families
}

fn of_endpoints(
    reports: &[PolicyReport],
    of: impl Fn(&[(&str, &str)], &EndpointReport) -> Vec<Metric>,
) -> Vec<Metric> {
    let mut metrics = Vec::new();
    for report in reports {
        for endpoint in &report.endpoints {
            let address = endpoint.address.to_string();
            let pool = endpoint.pool.to_string();
            let labels = [
                ("policy", report.name.as_str()),
                ("address", &address),
                ("site", &endpoint.site),
                ("pool", &pool),
            ];
            metrics.extend(of(&labels, endpoint));
        }
    }
    metrics
}

fn gauge_of(labels: &[(&str, &str)], value: f64) -> Metric {
    let mut gauge = prometheus::proto::Gauge::default();
    gauge.set_value(value);
    let mut metric = labelled(labels);
    metric.set_gauge(gauge);
    metric
}

fn gauges(name: &str, help: &str, metrics: Vec<Metric>) -> MetricFamily {
    let mut family = family(name, help, metrics);
    family.set_field_type(MetricType::GAUGE);
    family
}
