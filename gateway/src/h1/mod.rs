//! HTTP/1.1 with clients.
//!
//! ```text
//! bytes -> head (lines) -> message (meaning) -> request (RequestHead) -> session -> exchange
//!          chunked, body (with their deadlines)
//! exchange -> session -> response (framing) -> bytes
//! session -> forwarded -> Pingora's proxy, for what our relay does not carry
//! serve: one request after the other; connection: reads and writes with deadlines
//! ```
//!
//! `head`, `message` and `chunked` are pure and refuse whatever is not exactly what the RFCs
//! allow, so that nothing unparsed, and nothing that an upstream could read differently, is
//! ever forwarded.

mod body;
pub mod chunked;
mod connection;
mod downstream;
mod forwarded;
pub mod head;
mod linger;
pub mod message;
mod pingora;
mod request;
mod response;
mod retry;
mod serve;
mod session;

pub(crate) use self::connection::Connection;
pub(crate) use self::request::is_hop_by_hop;
pub(crate) use self::response::{end_here, line, malformed_length};
pub(crate) use self::serve::serve;
