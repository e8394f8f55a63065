//! Whether something at an address is well: probes, and the verdict that follows from their outcomes.
//!
//! ```text
//! keep_checking: every interval, give or take --> Probe::ask(address, limit) --> outcome
//!   --> Judgement::hear(outcome, now, thresholds) --> a new verdict, seldom
//! ```
//!
//! [`Judgement`] is pure. This module must not know what an address is good for.

pub mod check;
mod judgement;
mod pace;
pub mod probe;

pub use self::judgement::{Damping, Judgement, Thresholds};
pub use self::pace::{keep_checking, pauses};
