//! TLS with clients: how a listener speaks it, and what of it outlives a reload.
//!
//! ```text
//! compile: config -> Terms --+-> chassis: Terminator (one a listener) --handshake--> stream
//! tickets, counts: Memory ---+
//! ```

mod compile;
mod memory;

pub(crate) use self::compile::terminator;
pub(crate) use self::memory::Memory;
