//! HTTP/1.1 with clients: our own session in front of Pingora's proxy.
//!
//! ```text
//! bytes -> head (lines) -> message (meaning) -> RequestHeader -> Pingora
//!          chunked (body)
//! Pingora -> response (framing) -> bytes
//! ```
//!
//! `head`, `message` and `chunked` are pure and refuse whatever is not exactly what the RFCs
//! allow, so that nothing unparsed, and nothing that an upstream could read differently, is
//! ever forwarded.

pub mod chunked;
pub mod head;
pub mod message;
pub mod refusal;
