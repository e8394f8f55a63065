//! Whether something at an address is well: probes, the verdict that follows from their outcomes, and what operators set
//! instead.
//!
//! ```text
//! Monitor: keep_checking: every interval, give or take --> Probe::ask(address, limit) --> outcome
//!   --> Judgement::hear(outcome, now, thresholds) --> a new verdict, seldom
//! admin API --> Settings --> state file
//! ```
//!
//! [`Judgement`] is pure. This module must not know what an address is good for.

pub mod check;
mod judgement;
mod monitor;
mod pace;
pub mod probe;
mod settings;
mod state_file;

pub use self::judgement::{Damping, Judgement, Thresholds};
pub use self::monitor::{Finding, Findings, Monitor, Target};
pub use self::pace::{keep_checking, pauses};
pub use self::settings::{EndpointChange, EndpointOverride, Forced, NotSet, Settings, present};
pub use self::state_file::{HealthConfig, Kept, StateFile, StateFileError, Version};
