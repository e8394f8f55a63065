//! What a configuration was compiled to: everything that a request needs, never changed, only replaced.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chassis::config::Place;
use chassis::net::handover::Handover;
use chassis::net::{Address, ListenOptions};
use ipnet::IpNet;
use plugins::{Chain, Plugin};

use crate::acme::Acme;
use crate::cluster::Cluster;
use crate::config::{PathsConfig, ProxyHeader};
use crate::h1::head::HeadLimits;
use crate::metrics::RouteCounters;
use crate::route::RouteTable;
use crate::serve::{ListenerCounts, Refusals};
use crate::tls::Terminator;

/// One compiled configuration.
pub(crate) struct State {
    pub(crate) listeners: Vec<Arc<ListenerState>>,
    /// Carried over from the previous state where nothing changed.
    pub(crate) acme: Acme,
    /// How many connections the process may have.
    pub(crate) connections: Option<usize>,
    pub(crate) handover: Option<Handover>,
    /// How long requests in flight may take when the gateway stops.
    pub(crate) drain: Duration,
    pub(crate) table: RouteTable,
    /// By the numbers that `table` finds.
    pub(crate) routes: Vec<Arc<Route>>,
    /// For requests that no route matches.
    pub(crate) unmatched: Arc<Route>,
    pub(crate) clusters: BTreeMap<String, Arc<Cluster>>,
    pub(crate) plugins: BTreeMap<String, Arc<dyn Plugin>>,
    /// Files that the configuration names, for the file watch.
    pub(crate) files: Vec<PathBuf>,
}

impl State {
    /// This listener as it is in this state.
    pub(crate) fn listener_of(&self, one: &Arc<ListenerState>) -> Option<&Arc<ListenerState>> {
        let same = self.listeners.iter().find(|other| Arc::ptr_eq(other, one));
        same.or_else(|| self.listener(&one.name))
    }

    /// The listener of this name.
    pub(crate) fn listener(&self, name: &str) -> Option<&Arc<ListenerState>> {
        self.listeners.iter().find(|one| *one.name == *name)
    }

    /// Waits until every check has given its first verdict, at most `limit`.
    pub(crate) async fn judged(&self, limit: Duration) {
        let all = async {
            for cluster in self.clusters.values() {
                cluster.judged().await;
            }
        };
        let _ = tokio::time::timeout(limit, all).await;
    }
}

/// A listener of one configuration. The socket itself lives longer.
pub(crate) struct ListenerState {
    pub(crate) name: Arc<str>,
    /// As configured; the port may be 0.
    pub(crate) address: Address,
    /// Where the address is written.
    pub(crate) place: Place,
    pub(crate) options: ListenOptions,
    pub(crate) limits: ListenerLimits,
    /// Carried over from the previous state.
    pub(crate) counts: Arc<ListenerCounts>,
    /// None when it speaks plain HTTP.
    pub(crate) tls: Option<Terminator>,
    pub(crate) h2c: bool,
    /// What the head of an HTTP/1.1 request may measure.
    pub(crate) http1: HeadLimits,
    /// Bytes of a request's body.
    pub(crate) body: Option<u64>,
    pub(crate) timeouts: Timeouts,
    pub(crate) paths: PathsConfig,
    /// Whether headers may have an underscore in their name.
    pub(crate) underscores: bool,
    /// Networks whose word about clients is believed.
    pub(crate) trusted: Vec<IpNet>,
    pub(crate) proxy_header: ProxyHeader,
    pub(crate) refusals: Arc<Refusals>,
    pub(crate) http2: Http2Limits,
}

impl std::fmt::Debug for ListenerState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("ListenerState").field(&self.name).finish()
    }
}

impl ListenerState {
    /// A listener of no configuration.
    #[cfg(test)]
    pub(crate) fn for_tests() -> Arc<Self> {
        Arc::new(Self {
            name: "test".into(),
            address: Address::Tcp(([127, 0, 0, 1], 0).into()),
            place: Place::default(),
            options: ListenOptions::default(),
            limits: ListenerLimits::default(),
            counts: Arc::default(),
            tls: None,
            h2c: false,
            http1: HeadLimits::default(),
            body: None,
            timeouts: Timeouts::default(),
            paths: PathsConfig::default(),
            underscores: false,
            trusted: Vec::new(),
            proxy_header: ProxyHeader::Off,
            refusals: Arc::new(Refusals::new("test".into())),
            http2: Http2Limits::default(),
        })
    }

    /// Whether it speaks plain HTTP.
    pub(crate) fn is_plain(&self) -> bool {
        self.tls.is_none()
    }

    /// Whether what this peer says about clients is believed; peers on a Unix socket always are.
    pub(crate) fn trusts(&self, peer: Option<IpAddr>) -> bool {
        let Some(peer) = peer else {
            return matches!(self.address, Address::Unix(_));
        };
        let peer = peer.to_canonical();
        self.trusted.iter().any(|network| network.contains(&peer))
    }
}

/// How long a client may take.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Timeouts {
    pub(crate) handshake: Duration,
    pub(crate) head: Duration,
    pub(crate) body_read: Duration,
    /// Bytes a second.
    pub(crate) body_rate: u64,
    pub(crate) body: Option<Duration>,
    pub(crate) request: Option<Duration>,
    pub(crate) idle: Duration,
    pub(crate) write: Duration,
    pub(crate) tunnel: Duration,
    pub(crate) linger: Duration,
}

/// How many connections a listener may have.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ListenerLimits {
    pub(crate) connections: Option<usize>,
    pub(crate) per_client: Option<u32>,
}

/// What a client may ask for over HTTP/2. Sizes are in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Http2Limits {
    pub(crate) streams: u32,
    pub(crate) window: u32,
    pub(crate) connection_window: u32,
    pub(crate) frame: u32,
    pub(crate) headers: u32,
    pub(crate) header_count: usize,
    pub(crate) resets: u32,
}

/// A route of one configuration.
pub(crate) struct Route {
    pub(crate) name: Arc<str>,
    /// None for the route of requests that no route matches.
    pub(crate) cluster: Option<Arc<Cluster>>,
    pub(crate) chain: Chain,
    /// Whether gRPC-Web is translated.
    pub(crate) grpc_web: bool,
    pub(crate) counters: Arc<RouteCounters>,
}
