//! What is known of the targets of aliases.

use chassis::telemetry::{counter, family, gauge};
use prometheus::proto::{MetricFamily, MetricType};

use crate::serve::Shared;

/// Every metric of aliases.
pub(super) fn families(shared: &Shared) -> Vec<MetricFamily> {
    let (mut known, mut age, mut failures) = (Vec::new(), Vec::new(), Vec::new());
    for report in shared.learned.aliases.report() {
        let labels = [("target", report.name.as_str()), ("type", &report.r#type)];
        let addresses = report.addresses.as_ref().map(Vec::len);
        known.push(gauge(&labels, f64::from(u8::from(addresses.is_some()))));
        age.extend(report.age.map(|age| gauge(&labels, age as f64)));
        failures.push(counter(&labels, report.failures));
    }
    let mut families = vec![
        family(
            "tidegate_dns_alias_known",
            "1 while the addresses of the target are answered, 0 while that is SERVFAIL",
            MetricType::GAUGE,
            known,
        ),
        family(
            "tidegate_dns_alias_age_seconds",
            "How long ago a resolver has answered for the target",
            MetricType::GAUGE,
            age,
        ),
        family(
            "tidegate_dns_alias_failures_total",
            "Questions for the target that got no answer that can be used",
            MetricType::COUNTER,
            failures,
        ),
    ];
    // Without aliases there are none.
    families.retain(|family| !family.get_metric().is_empty());
    families
}
