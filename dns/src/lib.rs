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
//! - `serve` has the sockets, `following` lets answers follow health, and `role` is the process around them.

pub mod answer;
pub mod chooser;
mod compile;
pub mod config;
pub mod dnssec;
mod explain;
mod following;
pub mod geo;
pub mod health;
mod learned;
mod metrics;
pub mod policy;
pub mod role;
mod serve;
mod state;
pub mod wire;
pub mod zone;

pub use self::config::Config;
