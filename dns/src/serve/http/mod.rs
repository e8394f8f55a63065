//! Queries over HTTP (RFC 8484): hyper has the connection, `paced` and `serve` see that it ends.
//!
//! ```text
//! request -> query: the octets of a query | a status that says why there is none
//!         -> respond -> reply: the answer, and how long it may be kept
//! ```

mod paced;
mod query;
mod reply;
mod serve;

pub(super) use self::serve::serve;
