//! Finding a request's route: by host, then path, then method and headers.
//!
//! ```text
//! exact host -> longest "*.suffix" -> any host
//!   in each: literal segment before {param} before prefix, deepest first
//!     at one path: the route with the most conditions first
//! ```
//! The first route on that way whose conditions all hold is taken. The cost
//! depends on the request's labels and segments, not on the number of routes.

mod conditions;
mod path;
mod table;
mod trie;

pub(crate) use self::conditions::Conditions;
pub(crate) use self::path::normalise;
pub(crate) use self::table::{Found, RouteTable, Wanted};
pub(crate) use self::trie::Pattern;
