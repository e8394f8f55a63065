//! HTTP/2 with clients.
//!
//! ```text
//! bytes -> guard (counts frames by meter) -> h2, the crate (framing, windows, header blocks)
//!   -> serve (the accept loop) -> request (a session with the listener's limits) -> exchange
//! ```

mod downstream;
mod guard;
pub mod meter;
mod pingora;
mod request;
mod serve;

pub(crate) use self::meter::PREFACE;
pub(crate) use self::request::Conversation;
pub(crate) use self::serve::{Http2, metrics};
