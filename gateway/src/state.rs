//! What a configuration was compiled to: everything that a request needs, never changed, only replaced.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chassis::config::Place;
use chassis::net::{Address, ListenOptions};
use pingora_core::listeners::tls::Acceptor;
use plugins::{Chain, Plugin};

use crate::cluster::Cluster;
use crate::metrics::RouteCounters;
use crate::route::RouteTable;
use crate::serve::ListenerCounts;

/// One compiled configuration.
pub(crate) struct State {
    pub(crate) listeners: Vec<Arc<ListenerState>>,
    /// How many connections the process may have.
    pub(crate) connections: Option<usize>,
    pub(crate) handover: Option<HandoverState>,
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
    pub(crate) acceptor: Option<Acceptor>,
    pub(crate) h2c: bool,
}

/// How many connections a listener may have.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ListenerLimits {
    pub(crate) connections: Option<usize>,
    pub(crate) per_client: Option<u32>,
}

/// Where a successor can take over.
#[derive(Clone, Debug)]
pub(crate) struct HandoverState {
    pub(crate) door: PathBuf,
    /// Where that is written.
    pub(crate) place: Place,
    /// How long connections may go on after it.
    pub(crate) drain: Duration,
}

/// A route of one configuration.
pub(crate) struct Route {
    pub(crate) name: Arc<str>,
    /// None for the route of requests that no route matches.
    pub(crate) cluster: Option<Arc<Cluster>>,
    pub(crate) chain: Chain,
    pub(crate) counters: Arc<RouteCounters>,
}
