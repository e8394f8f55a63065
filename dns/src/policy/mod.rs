//! Which addresses a client gets: pool by spill, site by failover order, endpoint by weight and health.
//!
//! ```text
//! client prefix --spill--> the pool to try first (private, or public for a share of the clients)
//!   --> sites in order (the client's own, the nearest, or as configured): the first with an endpoint that is up
//!   --> the other pool, the same way --> the pool's word for "all down"
//!   --> weighted rendezvous over the endpoints of that site
//! ```
//!
//! [`decide()`] says this with a reason for each step. [`Tables`] hold all of it but the last line, made once for each
//! change of health, and choose exactly the same. This module does no I/O and reads no clock.

mod compile;
mod config;
mod decide;
mod group;
mod rendezvous;
mod tables;
#[cfg(test)]
mod tests;
mod variants;

pub(crate) use self::compile::LARGEST_WEIGHT;
pub use self::compile::{Endpoint, Policy, PoolKind};
pub use self::config::{AllDown, EndpointConfig, PolicyConfig, PoolConfig};
pub use self::decide::{Choice, decide};
pub use self::group::{EndpointView, Family, Status, View};
pub use self::tables::{MOST_ANSWERS, Outcome, Picked, Tables};
