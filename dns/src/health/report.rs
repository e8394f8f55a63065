//! What is known of everything, for operators and metrics.

use std::net::IpAddr;

use serde::{Serialize, Serializer};

use super::monitor::Health;
use super::overrides::Forced;
use crate::policy::{PoolKind, Status};

/// What is known of a policy.
#[derive(Clone, Debug, Serialize)]
pub struct PolicyReport {
    /// Its name.
    pub name: String,
    /// The share of clients whom the public pool serves first.
    pub spill: f64,
    /// Whether that was set by the admin API.
    pub spill_is_set: bool,
    /// Its endpoints.
    pub endpoints: Vec<EndpointReport>,
}

/// What is known of an endpoint.
#[derive(Clone, Debug, Serialize)]
pub struct EndpointReport {
    /// What clients are given.
    pub address: IpAddr,
    /// Where it is.
    pub site: String,
    /// Whose capacity it is.
    #[serde(serialize_with = "as_text")]
    pub pool: PoolKind,
    /// What it counts as.
    #[serde(serialize_with = "status")]
    pub status: Status,
    /// Whether that was set by the admin API, whatever checks say.
    pub status_is_set: bool,
    /// Its weight.
    pub weight: u32,
    /// Whether that was set by the admin API.
    pub weight_is_set: bool,
    /// Why the last check failed, if it did.
    pub why: Option<String>,
    /// Checks that passed; endpoints with the same probe share them.
    pub checks_passed: u64,
    /// Checks that failed.
    pub checks_failed: u64,
}

impl Health {
    /// What is known of everything now.
    pub fn report(&self) -> Vec<PolicyReport> {
        let inner = self.lock();
        let snapshot = self.snapshot();
        let mut reports = Vec::new();
        for (name, planned) in &inner.plan.policies {
            let Some(viewed) = snapshot.policies.get(name) else {
                continue;
            };
            let set = inner.overrides.policy(name);
            let views = viewed.view.endpoints.iter();
            let endpoints = planned
                .policy
                .endpoints
                .iter()
                .zip(&planned.targets)
                .zip(views);
            let endpoints = endpoints.map(|((endpoint, target), view)| {
                let running = target.as_ref().and_then(|target| inner.running.get(target));
                let set = set.and_then(|set| set.endpoints.get(&endpoint.address));
                EndpointReport {
                    address: endpoint.address,
                    site: snapshot.sites.site(endpoint.site).name.clone(),
                    pool: endpoint.pool,
                    status: view.status,
                    status_is_set: set.is_some_and(|set| set.state != Forced::Auto),
                    weight: view.weight.unwrap_or(endpoint.weight),
                    weight_is_set: view.weight.is_some(),
                    why: running.and_then(|running| running.why.as_deref().map(str::to_owned)),
                    checks_passed: running.map_or(0, |running| running.passed),
                    checks_failed: running.map_or(0, |running| running.failed),
                }
            });
            reports.push(PolicyReport {
                name: name.clone(),
                spill: viewed.view.spill.unwrap_or(planned.policy.spill),
                spill_is_set: viewed.view.spill.is_some(),
                endpoints: endpoints.collect(),
            });
        }
        reports
    }
}

fn as_text<S: Serializer>(value: &PoolKind, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

fn status<S: Serializer>(status: &Status, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(match status {
        Status::Up => "up",
        Status::Down => "down",
        Status::Unknown => "unknown",
    })
}
