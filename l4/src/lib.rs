//! The L4 balancer: takes a site's connections and hands each to the right cluster, by the name in its first
//! bytes or by address and port.
//!
//! ```text
//! Config --compile--> State (clusters, listeners, routes) --one ArcSwap--> loaded once for each connection
//! accept -> limits -> PROXY header -> sniff: name -> routing: cluster -> balance: endpoint -> relay
//! ```
//!
//! - [`sniff`] reads names from first bytes, and knows no cluster.
//! - [`balance`] chooses endpoints, and opens no socket.
//! - [`relay`] moves bytes, and knows neither; [`draining`] says when it has to stop.
//! - [`datagram`] moves datagrams, with threads of its own.
//! - `serve` has sockets and threads, `admission` who may come in, `health` which endpoints are well, `following` lets
//!   choices follow that, and `role` is the process around them.
//! - [`forward`] is what the kernel is told in the modes in which it carries the bytes itself,
//!   [`nat`] one of them, and `forwarding` tells it.

mod admission;
pub mod balance;
mod compile;
pub mod config;
mod connection_log;
pub mod datagram;
pub mod draining;
mod explain;
mod flush;
mod following;
pub mod forward;
mod forwarding;
mod health;
mod metrics;
pub mod nat;
pub mod relay;
pub mod role;
mod serve;
pub mod sniff;
mod state;

pub use self::config::Config;
