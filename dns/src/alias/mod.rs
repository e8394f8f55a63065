//! `ALIAS` records: the addresses of another name as if they were a name's own, where a CNAME record may not stand.
//!
//! ```text
//! Zone with ALIAS --follow--> a set of ours, or its policy ---------------+
//!                        \--> a name of others --ask, again and again--> place: Zone with A and AAAA --> answers
//! ```
//!
//! What leads to our own zones is followed when answers are compiled, and nobody is asked. What leads to others is
//! asked for in the background: no query waits for it.

mod api;
mod ask;
mod compile;
mod config;
mod follow;
mod place;
mod target;
#[cfg(test)]
mod tests;
mod watch;

pub use self::config::ResolverConfig;

pub(crate) use self::api::router;
pub(crate) use self::compile::{Resolving, resolver};
pub(crate) use self::follow::{End, Step, Way, Zones};
pub(crate) use self::place::{aliases, circles, outside, place, warnings};
pub(crate) use self::watch::{Aliases, TargetReport, want};
