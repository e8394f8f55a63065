//! Authoritative DNS that knows where clients are and which sites are well.
//!
//! ```text
//! Config --read zones--> Zone --compile--> Snapshot --one ArcSwap--> loaded once for each batch of packets
//! packet -> wire::parse -> Snapshot::respond -> packet
//! ```
//!
//! - [`wire`] reads packets, and knows no zone.
//! - [`zone`] reads what owners write, and judges it.
//! - [`answer`] compiles zones to what is sent, and sends nothing itself.
//! - [`dnssec`] has the keys of signed zones, and signs.
//! - [`geo`] knows where clients are, [`health`] which endpoints are well, [`policy`] which addresses follow; [`chooser`]
//!   puts the three together for the packet path.
//! - `guard` keeps the server from being used against others, `querylog` writes down what was asked.
//! - [`transfer`] copies zones to and from other servers.
//! - `serve` has the sockets, `tls` the certificates, `following` lets answers follow health, and `role` is the process around them.

pub mod alias;
pub mod answer;
pub mod chooser;
mod compile;
pub mod config;
pub mod dnssec;
mod explain;
mod following;
pub mod geo;
pub mod guard;
pub mod health;
mod learned;
mod metrics;
pub mod policy;
pub mod querylog;
pub mod role;
mod serve;
mod state;
mod tls;
pub mod transfer;
pub mod wire;
pub mod zone;

pub use self::config::Config;
