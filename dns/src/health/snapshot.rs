//! The state of health at a moment.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::monitor::{Inner, Running};
use super::overrides::{EndpointOverride, Forced};
use super::plan::Planned;
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

    pub(super) fn next(previous: &Self, inner: &Inner) -> Self {
        let mut policies = BTreeMap::new();
        for (name, planned) in &inner.plan.policies {
            let view = view(planned, inner);
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
            sites: inner.plan.sites.clone(),
            policies,
        }
    }
}

fn view(planned: &Planned, inner: &Inner) -> View {
    let set = inner.overrides.policy(&planned.policy.name);
    let endpoints = planned.policy.endpoints.iter().zip(&planned.targets);
    let endpoints = endpoints.map(|(endpoint, target)| {
        let set = set.and_then(|set| set.endpoints.get(&endpoint.address));
        let running = target.as_ref().and_then(|target| inner.running.get(target));
        endpoint_view(running, set.copied().unwrap_or_default(), target.is_some())
    });
    View {
        endpoints: endpoints.collect(),
        spill: set.and_then(|set| set.spill),
    }
}

fn endpoint_view(running: Option<&Running>, set: EndpointOverride, checked: bool) -> EndpointView {
    let by_checks = match running {
        None if checked => Status::Unknown,
        None => Status::Up,
        Some(running) => running.status(),
    };
    let (status, why, down_at) = match set.state {
        Forced::Up => (Status::Up, Some("set by the admin API".into()), None),
        Forced::Down => (Status::Down, Some("set by the admin API".into()), None),
        Forced::Auto => {
            let why = running.and_then(|running| running.why.clone());
            let down_at = running.and_then(|running| running.down_at);
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

impl Running {
    pub(super) fn status(&self) -> Status {
        match self.judgement.verdict() {
            None => Status::Unknown,
            Some(true) => Status::Up,
            Some(false) => Status::Down,
        }
    }
}
