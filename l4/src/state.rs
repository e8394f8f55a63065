//! What a configuration was compiled to: everything that a connection needs, never changed, only replaced.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chassis::config::Place;
use chassis::net::handover::Handover;
use chassis::net::proxy_protocol::ProxyHeader;
use chassis::net::{ListenOptions, Networks};
use rustc_hash::FxHashMap;

use crate::admission::Admission;
use crate::balance::{Cluster, Endpoint, Scheduler};
use crate::config::{Mode, ProxyVersion};
use crate::datagram;
use crate::forward::{Service, Transport};
use crate::metrics::ListenerCounts;
use crate::relay;
use crate::sniff::ServerName;

/// One compiled configuration.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) clusters: BTreeMap<Arc<str>, Arc<ClusterState>>,
    /// Of every mode.
    pub(crate) listeners: Vec<ListenerState>,
    /// Connections at a time, over all.
    pub(crate) connections: u32,
    pub(crate) handover: Option<Handover>,
}

/// A cluster, and how its endpoints are connected to.
#[derive(Debug)]
pub(crate) struct ClusterState {
    pub(crate) name: Arc<str>,
    pub(crate) cluster: Arc<Cluster>,
    /// Weight and limit of each endpoint, as they are configured.
    pub(crate) configured: Box<[(u32, Option<u32>)]>,
    pub(crate) proxy_protocol: Option<ProxyVersion>,
    /// For one endpoint.
    pub(crate) connect_timeout: Duration,
    /// For all that are tried.
    pub(crate) connect_budget: Duration,
    /// Within so long the connections of an endpoint are closed that is to have none; they go on without it.
    pub(crate) drain: Option<Duration>,
}

/// An address that clients use.
#[derive(Clone, Debug)]
pub(crate) struct ListenerState {
    pub(crate) name: Arc<str>,
    pub(crate) address: SocketAddr,
    pub(crate) mode: Mode,
    pub(crate) transport: Transport,
    pub(crate) place: Place,
    pub(crate) options: ListenOptions,
    pub(crate) routing: Arc<Routing>,
    pub(crate) proxy_header: ProxyHeader,
    /// Whose PROXY headers are believed.
    pub(crate) trusted: Networks,
    /// Who may connect; none when all may.
    pub(crate) allow: Option<Networks>,
    /// Who may not.
    pub(crate) deny: Networks,
    pub(crate) limits: Limits,
    pub(crate) timeouts: Timeouts,
    /// Whether endpoints see the client's address.
    pub(crate) transparent: bool,
    /// Who is connected. It outlives reloads.
    pub(crate) admission: Arc<Admission>,
    /// What has happened. It outlives reloads.
    pub(crate) counts: Arc<ListenerCounts>,
    /// The same of datagrams.
    pub(crate) datagrams: Arc<datagram::Counts>,
}

/// Limits of a listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Connections at a time.
    pub(crate) connections: Option<u32>,
    /// The same, of one client.
    pub(crate) per_client: Option<u32>,
    /// New connections a second, and how many at once.
    pub(crate) accept_rate: Option<(u32, u32)>,
}

/// How long a connection may take and last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timeouts {
    /// Until it is known where it goes.
    pub(crate) first_bytes: Duration,
    /// After that.
    pub(crate) relay: relay::Limits,
}

/// Which cluster gets a connection.
#[derive(Debug, Default)]
pub(crate) struct Routing {
    /// By the name itself.
    pub(crate) exact: FxHashMap<Box<str>, Arc<ClusterState>>,
    /// By what follows `*.`.
    pub(crate) below: FxHashMap<Box<str>, Arc<ClusterState>>,
    pub(crate) default: Option<Arc<ClusterState>>,
}

impl Routing {
    /// All clusters that it may lead to.
    pub(crate) fn clusters(&self) -> impl Iterator<Item = &Arc<ClusterState>> {
        let named = self.exact.values().chain(self.below.values());
        named.chain(&self.default)
    }

    /// Whether the first bytes have to be looked at.
    pub(crate) fn by_name(&self) -> bool {
        !self.exact.is_empty() || !self.below.is_empty()
    }

    /// The cluster for a name, or for a connection without one.
    pub(crate) fn cluster(&self, name: Option<&ServerName>) -> Option<&Arc<ClusterState>> {
        let named = name.and_then(|name| {
            let exact = self.exact.get(name.as_str());
            exact.or_else(|| {
                name.and_above()
                    .skip(1)
                    .find_map(|above| self.below.get(above))
            })
        });
        named.or(self.default.as_ref())
    }
}

impl ListenerState {
    /// Whether this peer is a proxy whose word is taken.
    pub(crate) fn trusts(&self, peer: IpAddr) -> bool {
        self.trusted.contains(peer)
    }

    /// Whether this client may connect.
    pub(crate) fn lets_in(&self, client: IpAddr) -> bool {
        let allowed = self
            .allow
            .as_ref()
            .is_none_or(|allow| allow.contains(client));
        allowed && !self.deny.contains(client)
    }
}

impl State {
    /// Endpoints take weights and limits from this configuration, and connections are dealt out by them.
    pub(crate) fn begin(&self, now: Instant) {
        for cluster in self.clusters.values() {
            let endpoints = cluster.cluster.endpoints().iter();
            for (endpoint, (weight, limit)) in endpoints.zip(&cluster.configured) {
                endpoint.configure(*weight, *limit, now);
            }
        }
        self.follow(now);
    }

    /// Deals out by what the endpoints are now; whether anything has changed.
    pub(crate) fn follow(&self, now: Instant) -> bool {
        let changes = self
            .clusters
            .values()
            .map(|state| state.cluster.follow(now));
        changes.fold(false, |changed, one| changed | one)
    }

    /// An endpoint of a cluster.
    pub(crate) fn endpoint(&self, cluster: &str, address: SocketAddr) -> Option<&Arc<Endpoint>> {
        let endpoints = self.clusters.get(cluster)?.cluster.endpoints();
        endpoints
            .iter()
            .find(|endpoint| endpoint.address == address)
    }

    /// What the kernel is to forward in a mode.
    pub(crate) fn services(&self, mode: Mode) -> Vec<Service> {
        let listeners = self.listeners.iter().filter(|one| one.mode == mode);
        let service = |listener: &ListenerState| {
            let cluster = &listener.routing.default.as_ref()?.cluster;
            Some(Service {
                name: listener.name.clone(),
                transport: listener.transport,
                address: listener.address,
                by_source: cluster.scheduler() == Scheduler::SourceHash,
                members: cluster.members(),
            })
        };
        listeners.filter_map(service).collect()
    }
}
