//! What a configuration was compiled to: everything that a connection needs, never changed, only replaced.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chassis::config::{Diagnostic, Place};
use chassis::net::handover::Handover;
use chassis::net::proxy_protocol::ProxyHeader;
use chassis::net::{ListenOptions, Networks};
use chassis::telemetry::SampledLog;
use chassis::tls::{Handshakes, Terminator};
use rustc_hash::FxHashMap;

use crate::admission::Admission;
use crate::balance::{Cluster, Endpoint, Scheduler};
use crate::config::{Mode, ProxyVersion};
use crate::datagram;
use crate::forward::{Service, Transport};
use crate::metrics::ListenerCounts;
use crate::nat::NatConfig;
use crate::relay;
use crate::sniff::ServerName;

/// One compiled configuration.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) clusters: BTreeMap<Arc<str>, Arc<ClusterState>>,
    /// Of every mode.
    pub(crate) listeners: Vec<ListenerState>,
    /// Connections at a time, over all; none for as many as there are descriptors for.
    pub(crate) connections: Option<u32>,
    pub(crate) connection_log: Option<SampledLog>,
    pub(crate) handover: Option<Handover>,
    /// How the kernel forwards with translated addresses.
    pub(crate) nat: NatConfig,
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
    /// How TLS handshakes have ended. It outlives reloads.
    pub(crate) handshakes: Arc<Handshakes>,
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
    pub(crate) exact: FxHashMap<Box<str>, Target>,
    /// By what follows `*.`.
    pub(crate) below: FxHashMap<Box<str>, Target>,
    pub(crate) default: Option<Target>,
}

/// Where a connection goes.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) cluster: Arc<ClusterState>,
    /// How TLS ends here; it passes through where there is none.
    pub(crate) tls: Option<Arc<Terminator>>,
}

impl Routing {
    /// All clusters that it may lead to.
    pub(crate) fn clusters(&self) -> impl Iterator<Item = &Arc<ClusterState>> {
        let named = self.exact.values().chain(self.below.values());
        named.chain(&self.default).map(|target| &target.cluster)
    }

    /// Whether the first bytes have to be looked at.
    pub(crate) fn by_name(&self) -> bool {
        !self.exact.is_empty() || !self.below.is_empty()
    }

    /// The cluster for a name, or for a connection without one.
    pub(crate) fn cluster(&self, name: Option<&ServerName>) -> Option<&Arc<ClusterState>> {
        self.target(name).map(|target| &target.cluster)
    }

    /// Where what is for a name goes, or what has none.
    pub(crate) fn target(&self, name: Option<&ServerName>) -> Option<&Target> {
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
    /// Every way in which TLS ends here.
    pub(crate) fn terminators(&self) -> impl Iterator<Item = &Arc<Terminator>> {
        let Routing {
            exact,
            below,
            default,
        } = &*self.routing;
        let targets = exact.values().chain(below.values()).chain(default);
        targets.filter_map(|target| target.tls.as_ref())
    }

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

    /// Has the connections closed of endpoints that were in the state before, and are not in this one, and flows go on
    /// elsewhere.
    pub(crate) fn succeed(&self, before: &Self, now: Instant) {
        for (name, old) in &before.clusters {
            let new = self.clusters.get(name);
            let drain = new.map_or(old.drain, |new| new.drain);
            let kept = |endpoint: &Arc<Endpoint>| {
                let mut kept = new.into_iter().flat_map(|new| new.cluster.endpoints());
                kept.any(|kept| Arc::ptr_eq(kept, endpoint))
            };
            let mut endpoints = old.cluster.endpoints().iter();
            while let Some(gone) = endpoints.find(|endpoint| !kept(endpoint)) {
                gone.draining.settle(drain, now);
                gone.leave(now + drain.unwrap_or_default());
            }
        }
    }

    /// Deals out by what the endpoints are now, and has the connections closed of those that are drained; whether
    /// anything has changed.
    pub(crate) fn follow(&self, now: Instant) -> bool {
        for state in self.clusters.values() {
            for endpoint in state.cluster.endpoints() {
                let drained = endpoint.weight() == 0;
                let within = state.drain.filter(|_| drained);
                endpoint.draining.set(within, now);
            }
        }
        let changes = self
            .clusters
            .values()
            .map(|state| state.cluster.follow(now));
        changes.fold(false, |changed, one| changed | one)
    }

    /// Opens the log of connections, or goes on with the one of the state before.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub(crate) fn open_log(&mut self, before: Option<&Self>) -> Result<(), Diagnostic> {
        let before = before.and_then(|before| before.connection_log.as_ref());
        self.connection_log
            .as_mut()
            .map_or(Ok(()), |log| log.open(before))
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
            let cluster = &listener.routing.cluster(None)?.cluster;
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
