//! HTTP/1.1 with clients: our own session in front of Pingora's proxy.
//!
//! ```text
//! bytes -> head (lines) -> message (meaning) -> request (RequestHeader) -> session -> Pingora
//!          chunked, body (with their deadlines)
//! Pingora -> session -> response (framing) -> bytes
//! serve: one request after the other; connection: reads and writes with deadlines
//! ```
//!
//! `head`, `message` and `chunked` are pure and refuse whatever is not exactly what the RFCs
//! allow, so that nothing unparsed, and nothing that an upstream could read differently, is
//! ever forwarded.

mod body;
pub mod chunked;
mod connection;
pub mod head;
pub mod message;
mod pingora;
mod request;
mod response;
mod retry;
mod serve;
mod session;

pub(crate) use self::connection::Connection;
pub(crate) use self::serve::serve;
pub(crate) use self::session::CloseAfter;
