//! Which endpoints are well: checks, what operators set, and the snapshot that answers are made from.
//!
//! ```text
//! checks (a task for each address and check) --outcome--> verdict --+
//!                                                                   +--> Snapshot --ArcSwap--> answers
//! admin API --> state file --> what is set -------------------------+
//! ```
//!
//! A snapshot has an epoch and holds each policy together with the view of its endpoints, so that the two always fit. It
//! changes when a verdict does, and not with each outcome. This module must not know names or packets.

mod api;
mod monitor;
mod overrides;
mod plan;
mod report;
mod set;
mod snapshot;
#[cfg(test)]
mod tests;

pub use self::api::router;
pub use self::monitor::Health;
pub use self::overrides::Overrides;
pub use self::plan::Plan;
pub use self::report::{EndpointReport, PolicyReport};
pub use self::set::PolicyChange;
pub use self::snapshot::{Snapshot, Viewed};
