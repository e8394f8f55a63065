//! Zones compiled to what is sent.
//!
//! ```text
//! zones -> compile -> Snapshot: name -> node -> type -> the bytes after the question
//! query -> find: the name | a wildcard | a delegation | nothing -> respond: header, question, bytes, OPT
//! ```
//!
//! A query costs one look-up when its name is there, and one for each halving of its labels when it
//! is not: the names of all zones are closed under their parents, so the closest that exists is found by bisection.
//! Those of queries that came together are made side by side (`pending`).

mod age;
mod bytes;
mod choose;
mod compile;
mod edns;
mod find;
mod message;
mod names;
mod pending;
mod respond;
mod sets;
mod signed;
mod snapshot;

pub use self::age::age;
pub use self::choose::{Choice, Choose, Client, NoPolicies, PolicyId};
pub use self::compile::{compile, compile_signed};
pub use self::find::{Found, Why};
pub use self::pending::{LookedUp, Pending};
pub use self::respond::{Limits, Options, Responded};
pub use self::snapshot::Snapshot;

#[cfg(test)]
mod tests;
