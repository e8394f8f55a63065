//! What policies chose, and what is known of their endpoints.

use chassis::telemetry::{counter, family, gauge};
use prometheus::proto::{Metric, MetricFamily, MetricType};

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
            MetricType::COUNTER,
            choices.collect(),
        ),
        family(
            "tidegate_dns_endpoint_up",
            "1 while clients may be sent to the endpoint",
            MetricType::GAUGE,
            of_endpoints(&reports, |labels, one| {
                let up = one.status == Status::Up;
                vec![gauge(labels, f64::from(u8::from(up)))]
            }),
        ),
        family(
            "tidegate_dns_endpoint_weight",
            "The weight that holds; 0 is drained",
            MetricType::GAUGE,
            of_endpoints(&reports, |labels, one| {
                vec![gauge(labels, f64::from(one.weight))]
            }),
        ),
        family(
            "tidegate_dns_endpoint_checks_total",
            "Checks of the endpoint's probe; endpoints with the same probe share them",
            MetricType::COUNTER,
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
