//! Keys and signatures of signed zones.

use std::sync::atomic::Ordering;

use chassis::telemetry::{counter, family, gauge};
use prometheus::proto::{MetricFamily, MetricType};

use crate::dnssec::{SignedZones, unix_now};

/// Every metric of signed zones; none without such a zone.
pub(super) fn families(signed: &SignedZones) -> Vec<MetricFamily> {
    if signed.zones.is_empty() {
        return Vec::new();
    }
    let now = unix_now();
    let (mut ends, mut keys) = (Vec::new(), Vec::new());
    for zone in &signed.zones {
        let name = zone.zone.to_string();
        let left = f64::from(zone.signer.first_end()) - now as f64;
        ends.push(gauge(&[("zone", &name)], left));
        for key in &zone.ring.keys {
            let tag = key.tag.to_string();
            let labels = [
                ("zone", name.as_str()),
                ("role", key.role.name()),
                ("tag", &tag),
                ("stage", key.stage.name()),
            ];
            let since = now.saturating_sub(key.since);
            keys.push(gauge(&labels, since as f64));
        }
    }
    let counts = &signed.counts;
    let online = [
        ("made", &counts.made),
        ("known", &counts.known),
        ("refused", &counts.refused),
    ];
    let online =
        online.map(|(result, count)| counter(&[("result", result)], count.load(Ordering::Relaxed)));
    vec![
        family(
            "tidegate_dns_signature_seconds",
            "How long the signature of the zone holds that ends first",
            MetricType::GAUGE,
            ends,
        ),
        family(
            "tidegate_dns_key_stage_seconds",
            "How long the key has been at this stage",
            MetricType::GAUGE,
            keys,
        ),
        family(
            "tidegate_dns_online_signatures_total",
            "Signatures for names that are not there, or for which a wildcard stands",
            MetricType::COUNTER,
            online.to_vec(),
        ),
    ]
}
