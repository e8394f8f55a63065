//! What a configuration was compiled to: everything that a request needs, never changed, only replaced.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chassis::config::Place;
use pingora_core::listeners::tls::Acceptor;
use plugins::{Chain, Plugin};

use crate::cluster::Cluster;
use crate::metrics::RouteCounters;
use crate::route::RouteTable;

/// One compiled configuration.
pub(crate) struct State {
    pub(crate) listeners: Vec<Arc<ListenerState>>,
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
    pub(crate) address: SocketAddr,
    /// Where the address is written.
    pub(crate) place: Place,
    pub(crate) acceptor: Option<Acceptor>,
    pub(crate) h2c: bool,
    pub(crate) http2: Http2Limits,
}

/// What a client may ask for over HTTP/2. Sizes are in bytes.
pub(crate) struct Http2Limits {
    pub(crate) streams: u32,
    pub(crate) window: u32,
    pub(crate) connection_window: u32,
    pub(crate) frame: u32,
    pub(crate) headers: u32,
    pub(crate) header_count: usize,
    pub(crate) resets: u32,
    pub(crate) idle: Duration,
    pub(crate) stall: Duration,
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
