//! Which name a connection is for, from its first bytes. Nothing is taken away from them.
//!
//! Bytes come from strangers: every parser ends at its limit, never panics and says what is wrong.

mod client_hello;
mod http;
mod name;
mod quic;

pub use self::client_hello::{ClientHello, Hello, HelloReader, LONGEST_HELLO};
pub use self::http::{Head, LONGEST_HEAD, host};
pub use self::name::ServerName;
pub use self::quic::{InitialReader, LONGEST_ID, LongHeader, long_header, short_header};

/// First packets of QUIC clients, for tests.
#[cfg(test)]
pub(crate) mod samples {
    pub(crate) use super::quic::tests::{ID, crypto, hello, initial};
}
