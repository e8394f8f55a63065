//! What is known of everything, for operators and metrics.

use std::net::IpAddr;

use chassis::health::{Findings, Forced};
use serde::{Deserialize, Serialize};

use super::monitor::Health;
use super::overrides::Overrides;
use super::plan::Plan;
use super::snapshot::Snapshot;
use crate::policy::{EndpointView, Policy, PoolKind, Status, View};

/// What is known of a policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EndpointReport {
    /// What clients are given.
    pub address: IpAddr,
    /// Where it is.
    pub site: String,
    /// Whose capacity it is.
    pub pool: PoolKind,
    /// What it counts as.
    pub status: Status,
    /// Whether that was set by the admin API, whatever checks say.
    pub status_is_set: bool,
    /// Its weight.
    pub weight: u32,
    /// Whether that was set by the admin API.
    pub weight_is_set: bool,
    /// Why the last check failed, if it did.
    pub why: Option<String>,
    /// When it last went down after it was up, in milliseconds of the process's own clock.
    pub down_at: Option<u64>,
    /// Checks that passed; endpoints with the same probe share them.
    pub checks_passed: u64,
    /// Checks that failed.
    pub checks_failed: u64,
}

impl Health {
    /// What is known of everything now.
    pub fn report(&self) -> Vec<PolicyReport> {
        let plan = self.plan();
        let snapshot = self.snapshot();
        self.settings.look(|set| {
            self.monitor
                .look(|found| report(&plan, &snapshot, set, found))
        })
    }
}

fn report(
    plan: &Plan,
    snapshot: &Snapshot,
    set: &Overrides,
    found: &Findings,
) -> Vec<PolicyReport> {
    let mut reports = Vec::new();
    for (name, planned) in &plan.policies {
        let Some(viewed) = snapshot.policies.get(name) else {
            continue;
        };
        let set = set.policy(name);
        let views = viewed.view.endpoints.iter();
        let endpoints = planned
            .policy
            .endpoints
            .iter()
            .zip(&planned.targets)
            .zip(views);
        let endpoints = endpoints.map(|((endpoint, target), view)| {
            let found = target.as_ref().and_then(|target| found.of(target));
            let set = set.and_then(|set| set.endpoints.get(&endpoint.address));
            EndpointReport {
                address: endpoint.address,
                site: snapshot.sites.site(endpoint.site).name.clone(),
                pool: endpoint.pool,
                status: view.status,
                status_is_set: set.is_some_and(|set| set.state != Forced::Auto),
                weight: view.weight.unwrap_or(endpoint.weight),
                weight_is_set: view.weight.is_some(),
                why: found.and_then(|found| found.why.as_deref().map(str::to_owned)),
                down_at: view.down_at,
                checks_passed: found.map_or(0, |found| found.passed),
                checks_failed: found.map_or(0, |found| found.failed),
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

impl PolicyReport {
    /// The view that this was made from, as far as decisions need it: another process can explain with it what this one
    /// answers. What is not in the report is not checked yet.
    pub fn view(&self, policy: &Policy) -> View {
        let endpoints = policy.endpoints.iter().map(|endpoint| {
            let mut reports = self.endpoints.iter();
            let report = reports.find(|report| report.address == endpoint.address);
            EndpointView {
                status: report.map_or(Status::Unknown, |report| report.status),
                weight: report.map(|report| report.weight),
                down_at: report.and_then(|report| report.down_at),
                why: report.and_then(|report| report.why.as_deref().map(Into::into)),
            }
        });
        View {
            endpoints: endpoints.collect(),
            spill: Some(self.spill),
        }
    }
}
