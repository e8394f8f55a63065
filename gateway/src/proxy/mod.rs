//! The life of a request on Pingora's phases.
//!
//! ```text
//! request_filter          load the State, judge the head, find the route, say who asks, run plugins
//! upstream_peer           pick an endpoint, again after a failed connection
//! response_filter         plugins in reverse
//! logging                 plugins' `finished`, counters
//! ```

mod challenge;
mod forwarded;
mod grpc_web;
mod phases;
mod reply;
mod request;
mod upstream;

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use chassis::telemetry::Pressure;
use pingora_core::apps::{HttpServerApp, HttpServerOptions};
use pingora_core::protocols::http::bridge::grpc_web::GrpcWebCtx;
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

/// Pingora's proxy, and what the listeners are to do with it.
pub(crate) struct Proxies {
    proxy: Arc<HttpProxy<Proxy>>,
}

/// What Pingora keeps for us from phase to phase.
#[derive(Default)]
pub(crate) struct Context {
    /// None until the head was read.
    started: Option<Started>,
    /// The endpoint in use.
    current: Option<Arc<Endpoint>>,
    /// Endpoints that could not be connected to, or broke off before an answer.
    tried: Vec<Arc<Endpoint>>,
}

impl Context {
    /// Gives up the endpoint in use; whether there is another to try.
    fn try_another(&mut self) -> bool {
        self.tried.extend(self.current.take());
        let route = self.started.as_ref().map(|started| &started.route);
        let cluster = route.and_then(|route| route.cluster.as_ref());
        cluster.is_some_and(|cluster| {
            self.tried.len() <= cluster.retries && self.tried.len() < cluster.members.len()
        })
    }
}

/// A request whose head was read.
struct Started {
    route: Arc<Route>,
    exchange: Exchange,
    /// It was refused for what it is: the connection ends after the answer.
    refused: bool,
    grpc_web: GrpcWebCtx,
    /// The state that it began with, whole until the end.
    state: Arc<State>,
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
        let inner = Proxy {
            shared: shared.clone(),
        };
        let mut proxy = HttpProxy::new(inner, conf);
        proxy.server_options = Some(HttpServerOptions::default());
        proxy.handle_init_modules();
        Self {
            proxy: Arc::new(proxy),
        }
    }

    /// What serves requests.
    pub(crate) fn proxy(&self) -> &Arc<HttpProxy<Proxy>> {
        &self.proxy
    }

    /// Ends the HTTP/1.1 connections that wait for a request.
    pub(crate) async fn cleanup(&self) {
        self.proxy.http_cleanup().await;
    }
}
