//! The state of health at a moment.

use std::collections::BTreeMap;
use std::sync::Arc;

use chassis::health::{EndpointOverride, Finding, Findings, Forced};

use super::overrides::Overrides;
use super::plan::{Plan, Planned};
use crate::geo::Sites;
use crate::policy::{EndpointView, Policy, Status, View};

/// The state of health at a moment.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Grows with each snapshot.
    pub epoch: u64,
    /// The sites that policies are of.
    pub sites: Arc<Sites>,
    /// Policies by name, each with its view. What has not changed is the same [`Arc`] as before.
    pub policies: BTreeMap<String, Arc<Viewed>>,
}

/// A policy, and what is known of its endpoints.
#[derive(Debug)]
pub struct Viewed {
    /// The policy.
    pub policy: Arc<Policy>,
    /// Its endpoints and its spill.
    pub view: View,
}

impl Snapshot {
    /// A snapshot of policies with these views.
    pub fn of(sites: Arc<Sites>, policies: &[Arc<Policy>], view: impl Fn(&Policy) -> View) -> Self {
        let viewed = policies.iter().map(|policy| {
            let viewed = Viewed {
                view: view(policy),
                policy: policy.clone(),
            };
            (policy.name.clone(), Arc::new(viewed))
        });
        Self {
            epoch: 0,
            sites,
            policies: viewed.collect(),
        }
    }

    pub(super) fn next(previous: &Self, plan: &Plan, set: &Overrides, found: &Findings) -> Self {
        let mut policies = BTreeMap::new();
        for (name, planned) in &plan.policies {
            let view = view(planned, set, found);
            let kept = previous.policies.get(name);
            let kept =
                kept.filter(|old| Arc::ptr_eq(&old.policy, &planned.policy) && old.view == view);
            let viewed = kept.cloned().unwrap_or_else(|| {
                Arc::new(Viewed {
                    policy: planned.policy.clone(),
                    view,
                })
            });
            policies.insert(name.clone(), viewed);
        }
        Self {
            epoch: previous.epoch + 1,
            sites: plan.sites.clone(),
            policies,
        }
    }
}

fn view(planned: &Planned, set: &Overrides, found: &Findings) -> View {
    let set = set.policy(&planned.policy.name);
    let endpoints = planned.policy.endpoints.iter().zip(&planned.targets);
    let endpoints = endpoints.map(|(endpoint, target)| {
        let set = set.and_then(|set| set.endpoints.get(&endpoint.address));
        let found = target.as_ref().and_then(|target| found.of(target));
        endpoint_view(found, set.copied().unwrap_or_default(), target.is_some())
    });
    View {
        endpoints: endpoints.collect(),
        spill: set.and_then(|set| set.spill),
    }
}

fn endpoint_view(found: Option<&Finding>, set: EndpointOverride, checked: bool) -> EndpointView {
    let by_checks = match found {
        None if checked => Status::Unknown,
        None => Status::Up,
        Some(found) => status(found),
    };
    let (status, why, down_at) = match set.state {
        Forced::Up => (Status::Up, Some("set by the admin API".into()), None),
        Forced::Down => (Status::Down, Some("set by the admin API".into()), None),
        Forced::Auto => {
            let why = found.and_then(|found| found.why.clone());
            let down_at = found.and_then(|found| found.down_at);
            (by_checks, why, down_at)
        }
    };
    EndpointView {
        status,
        weight: set.weight,
        down_at,
        why: why.filter(|_| status != Status::Up || set.state == Forced::Up),
    }
}

fn status(found: &Finding) -> Status {
    match found.verdict {
        None => Status::Unknown,
        Some(true) => Status::Up,
        Some(false) => Status::Down,
    }
}
