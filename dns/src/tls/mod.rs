//! TLS with clients: how a listener speaks it, and what of it outlives a reload.
//!
//! ```text
//! compile: files -> Certificate -> Resolver --+-> Terminator (one a listener) --handshake--> stream
//!          tickets, counts: Memory -----------+
//! ```

mod compile;
mod memory;
mod terminator;

pub(crate) use self::compile::{Reading, terminator};
pub(crate) use self::memory::Memory;
pub(crate) use self::terminator::{Parts, Terminator};
