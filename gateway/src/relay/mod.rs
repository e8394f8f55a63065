//! Our own way to HTTP/1.1 upstreams: one task, one buffer, no copy of a head or a body beyond those
//! that bytes need to get from one socket to the other.
//!
//! ```text
//! forward: pick an endpoint -> pool (per thread) or connect (TCP, PROXY header, TLS)
//!   -> converse: request out (request), answer in (answer), bodies both ways at once
//!   -> pool; or another endpoint, when nothing of the answer has reached the client
//! ```
//!
//! What it does not carry goes to Pingora's proxy: WebSockets, gRPC-Web and HTTP/2 upstreams.

pub mod answer;
mod buffer;
mod connect;
mod converse;
mod error;
mod forward;
mod pool;
mod request;
mod upstream;

pub(crate) use self::forward::forward;
use crate::exchange::{Downstream, Started};

/// Whether the relay can carry this request.
pub(crate) fn speaks<D: Downstream>(started: &Started, client: &D) -> bool {
    let cluster = started.route.cluster.as_ref();
    !client.asks_for_tunnel()
        && !started.route.grpc_web
        && cluster.is_none_or(|cluster| cluster.relayed)
}
