//! What is known of everything, for operators, metrics and `tidegate l4 explain`.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use chassis::health::{Finding, Forced};
use serde::{Deserialize, Serialize};

use super::Health;
use crate::config::Mode;
use crate::forward::Transport;
use crate::serve::Shared;
use crate::state::{ClusterState, ListenerState};

/// What is known of the process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct StateReport {
    /// Connections of clients that are open.
    pub(crate) open: u32,
    /// As many may be.
    pub(crate) limit: u32,
    /// Where clients connect.
    pub(crate) listeners: Vec<ListenerReport>,
    /// Who gets the connections.
    pub(crate) clusters: Vec<ClusterReport>,
}

/// What is known of a listener.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ListenerReport {
    /// Its name.
    pub(crate) name: String,
    /// As it is configured.
    pub(crate) address: SocketAddr,
    /// Who carries the bytes.
    pub(crate) mode: Mode,
    /// What it takes.
    pub(crate) protocol: Transport,
    /// The cluster of what has no route.
    pub(crate) cluster: Option<String>,
    /// The clusters of names.
    pub(crate) names: BTreeMap<String, String>,
    /// Connections or sessions that are open; none when the kernel carries them.
    pub(crate) open: Option<u32>,
    /// As many may be; no limit without one.
    pub(crate) limit: Option<u32>,
}

/// What is known of a cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ClusterReport {
    /// Its name.
    pub(crate) name: String,
    /// How connections are dealt out.
    pub(crate) scheduler: String,
    /// Its members, as they are listed.
    pub(crate) endpoints: Vec<EndpointReport>,
}

/// What is known of an endpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct EndpointReport {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// Its weight.
    pub(crate) weight: u32,
    /// Whether that was set by the admin API.
    pub(crate) weight_is_set: bool,
    /// Whether it counts as well.
    pub(crate) well: bool,
    /// What was set by the admin API, whatever checks say; `auto` when nothing was.
    pub(crate) state: Forced,
    /// Its part of new connections, from 0 to 1, by weight, health and slow start.
    pub(crate) share: f64,
    /// Why the last check failed, if it did.
    pub(crate) why: Option<String>,
    /// Connections or sessions that it has through this process.
    pub(crate) open: u32,
    /// As many may be; no limit without one.
    pub(crate) limit: Option<u32>,
    /// When it last went down after it was up, in milliseconds of the process's own clock.
    pub(crate) down_at: Option<u64>,
    /// Checks that passed; endpoints with the same check at the same address share them.
    pub(crate) checks_passed: u64,
    /// Checks that failed.
    pub(crate) checks_failed: u64,
}

impl Shared {
    /// What is known of everything now.
    pub(crate) fn report(&self) -> StateReport {
        let state = self.state.load();
        let findings = self.health.findings();
        StateReport {
            open: self.open.count(),
            limit: self.open.limit(state.connections),
            listeners: state.listeners.iter().map(listener).collect(),
            clusters: state
                .clusters
                .values()
                .map(|one| cluster(one, &findings))
                .collect(),
        }
    }
}

/// What was found, by cluster and address.
type Known = BTreeMap<(String, SocketAddr), Finding>;

impl Health {
    fn findings(&self) -> Known {
        let endpoints = self.lock();
        self.monitor.look(|found| {
            let known = endpoints.iter().filter_map(|planned| {
                let finding = found.of(planned.target.as_ref()?)?.clone();
                let key = (planned.cluster.to_string(), planned.endpoint.address);
                Some((key, finding))
            });
            known.collect()
        })
    }
}

fn listener(listener: &ListenerState) -> ListenerReport {
    let routing = &listener.routing;
    let exact = routing.exact.iter();
    let exact = exact.map(|(name, target)| (name.to_string(), target.cluster.name.to_string()));
    let below = routing.below.iter();
    let below = below.map(|(name, target)| (format!("*.{name}"), target.cluster.name.to_string()));
    ListenerReport {
        name: listener.name.to_string(),
        address: listener.address,
        mode: listener.mode,
        protocol: listener.transport,
        cluster: routing.cluster(None).map(|one| one.name.to_string()),
        names: exact.chain(below).collect(),
        open: (listener.mode == Mode::Proxy).then(|| listener.admission.open()),
        limit: listener.limits.connections,
    }
}

fn cluster(state: &ClusterState, known: &Known) -> ClusterReport {
    let members = state.cluster.members();
    let all: u64 = members.iter().map(|member| u64::from(member.share)).sum();
    let endpoints = state.cluster.endpoints().iter().zip(members);
    let endpoints = endpoints
        .zip(&state.configured)
        .map(|((endpoint, member), (_, limit))| {
            let key = (state.name.to_string(), endpoint.address);
            let finding = known.get(&key).cloned().unwrap_or_default();
            EndpointReport {
                address: endpoint.address,
                weight: endpoint.weight(),
                weight_is_set: endpoint.set_weight_is().is_some(),
                well: endpoint.is_well(),
                state: endpoint.forced(),
                share: f64::from(member.share) / all.max(1) as f64,
                why: finding.why.as_deref().map(str::to_owned),
                open: endpoint.open(),
                limit: *limit,
                down_at: finding.down_at,
                checks_passed: finding.passed,
                checks_failed: finding.failed,
            }
        });
    ClusterReport {
        name: state.name.to_string(),
        scheduler: state.cluster.scheduler().name().to_owned(),
        endpoints: endpoints.collect(),
    }
}
