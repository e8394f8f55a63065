//! Zones that others copy, and copies of others' zones: AXFR, IXFR, NOTIFY, TSIG.
//!
//! ```text
//! out: State -> told: a journal for each zone -> NOTIFY; a request -> answer -> out: messages -> the connection
//! in:  a timer | NOTIFY -> secondary: pull -> receive -> version -> judged, stored -> Learned -> answers
//! ```
//!
//! Nothing here is on the path of usual queries. [`receive`], [`version`], [`journal`] and `schedule` decide, and do no I/O.

mod answer;
mod api;
mod config;
pub mod journal;
pub mod key;
mod notify;
pub mod out;
mod pull;
pub mod receive;
mod request;
mod rules;
mod schedule;
mod secondary;
mod slots;
mod store;
mod told;
pub mod tsig;
pub mod version;

pub(crate) use self::answer::{Asked, Reply, Transfer, reply};
pub(crate) use self::api::router;
pub use self::config::{
    PeerConfig, TransferRuleConfig, TransfersConfig, TsigAlgorithm, TsigConfig,
};
pub(crate) use self::rules::Transfers;
pub(crate) use self::secondary::{Secondaries, SecondaryReport};
pub(crate) use self::told::{Outcome, Told};
