//! Pingora's proxy: how requests go on that our own relay does not carry, WebSockets and those for
//! HTTP/2 upstreams.
//!
//! ```text
//! request_filter          takes the request over, behind the plugins' way in
//! upstream_peer           pick an endpoint, again after a failed connection
//! response_filter         plugins in reverse
//! logging                 plugins' `finished`, counters
//! ```

mod grpc_web;
mod heads;
mod phases;
mod upstream;

use std::sync::Arc;

use pingora_core::apps::HttpServerOptions;
use pingora_core::protocols::http::bridge::grpc_web::GrpcWebCtx;
use pingora_core::server::configuration::ServerConf;
use pingora_proxy::HttpProxy;

pub(crate) use self::heads::{answer_to_pingora, from_pingora, hand_over};
use crate::exchange::{Attempts, Interims, Shared, Started};

/// Our part in Pingora's proxy.
pub(crate) struct Proxy {
    shared: Arc<Shared>,
}

/// What serves requests: what they share, and Pingora's proxy.
pub(crate) struct Proxies {
    shared: Arc<Shared>,
    proxy: Arc<HttpProxy<Proxy>>,
}

/// What Pingora keeps for us from phase to phase.
#[derive(Default)]
pub(crate) struct Context {
    /// None until it was taken over.
    started: Option<Box<Started>>,
    attempts: Attempts,
    interims: Interims,
    grpc_web: GrpcWebCtx,
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
            shared: shared.clone(),
            proxy: Arc::new(proxy),
        }
    }

    /// What all requests share.
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Pingora's proxy.
    pub(crate) fn proxy(&self) -> &Arc<HttpProxy<Proxy>> {
        &self.proxy
    }
}
