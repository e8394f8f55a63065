//! The life of a request on Pingora's phases.
//!
//! ```text
//! request_filter          load the State, judge the head, find the route, say who asks, run plugins
//! upstream_peer           pick an endpoint, again after a failed connection
//! response_filter         plugins in reverse
//! logging                 plugins' `finished`, counters
//! ```

mod forwarded;
mod phases;
mod reply;
mod request;

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use chassis::telemetry::Pressure;
use pingora_core::apps::HttpServerOptions;
use pingora_core::server::configuration::ServerConf;
use pingora_proxy::HttpProxy;
use plugins::Exchange;

use crate::cluster::Endpoint;
use crate::state::{Route, State};

/// What all requests share.
pub(crate) struct Shared {
    /// Set before the first listener opens, and replaced by each reload.
    pub(crate) state: Arc<ArcSwapOption<State>>,
    pub(crate) pressure: Arc<Pressure>,
}

/// Our part in Pingora's proxy.
pub(crate) struct Proxy {
    shared: Arc<Shared>,
}

/// Pingora's proxies: its options are fixed for each, so there is one for each choice of them.
pub(crate) struct Proxies {
    plain: Arc<HttpProxy<Proxy>>,
    h2c: Arc<HttpProxy<Proxy>>,
}

/// What Pingora keeps for us from phase to phase.
#[derive(Default)]
pub(crate) struct Context {
    /// None until the head was read.
    started: Option<Started>,
    /// The endpoint in use.
    current: Option<Arc<Endpoint>>,
    /// Endpoints that could not be connected to.
    tried: Vec<Arc<Endpoint>>,
}

/// A request whose head was read.
struct Started {
    route: Arc<Route>,
    exchange: Exchange,
    /// It was refused for what it is: the connection ends after the answer.
    refused: bool,
    /// The state that it began with; held so that it stays whole until the end.
    _state: Arc<State>,
}

impl Shared {
    pub(crate) fn new(pressure: Arc<Pressure>) -> Self {
        Self {
            state: Arc::default(),
            pressure,
        }
    }
}

impl Proxies {
    pub(crate) fn new(shared: &Arc<Shared>, threads: usize) -> Self {
        let conf = Arc::new(ServerConf {
            threads,
            upstream_keepalive_pool_size: 256 * threads,
            ..ServerConf::default()
        });
        let proxy = |h2c: bool| {
            let inner = Proxy {
                shared: shared.clone(),
            };
            let mut proxy = HttpProxy::new(inner, conf.clone());
            let mut options = HttpServerOptions::default();
            options.h2c = h2c;
            proxy.server_options = Some(options);
            proxy.handle_init_modules();
            Arc::new(proxy)
        };
        let (plain, h2c) = (proxy(false), proxy(true));
        Self { plain, h2c }
    }

    /// The proxy of connections with a known protocol.
    pub(crate) fn plain(&self) -> &Arc<HttpProxy<Proxy>> {
        &self.plain
    }

    /// The proxy of connections that begin as HTTP/2 without TLS.
    pub(crate) fn h2c(&self) -> &Arc<HttpProxy<Proxy>> {
        &self.h2c
    }

    pub(crate) fn all(&self) -> [&Arc<HttpProxy<Proxy>>; 2] {
        [&self.plain, &self.h2c]
    }
}
