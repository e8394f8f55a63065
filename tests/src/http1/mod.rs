//! HTTP/1 to the byte: cases as text files, a strict reader, an upstream that keeps what it got.
//!
//! ```text
//! message    reads heads and bodies, and refuses what is not exactly RFC 9112
//! case       one conversation of a file in `tests/http1/`
//! recorder   the upstream
//! play       holds a conversation with the gateway: at once, dripped, split, with more behind
//! theme      plays all cases of a file in all these ways, and tells everything that went wrong
//! ```

pub mod case;
mod judge;
pub mod message;
mod play;
pub mod recorder;
pub mod theme;
