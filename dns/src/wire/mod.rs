//! The packet path's own reader and writer of DNS messages.
//!
//! ```text
//! packet -> parse -> Query (name in lower case, type, EDNS) | an error to answer | silence
//! ```
//!
//! Every packet is hostile. Nothing here allocates or panics, whatever the bytes are; this module
//! knows no zone and does no I/O.

pub mod cookie;
mod edns;
mod header;
mod name;
mod query;
pub mod rcode;
pub mod rtype;

pub use self::cookie::{Cookie, ServerPart};
pub use self::edns::{Edns, Family, Subnet, WANTS_DNSSEC, opt_record, option};
pub use self::header::{Flags, Header};
pub use self::name::QueryName;
pub(crate) use self::query::skip_name;
pub use self::query::{Parsed, Query, Refused, parse};

/// Octets of a header (RFC 1035, 4.1.1).
pub const HEADER: usize = 12;
/// The longest name in wire form, with the root's octet (RFC 1035, 2.3.4).
pub const LONGEST_NAME: usize = 255;
/// The longest label (RFC 1035, 2.3.4).
pub const LONGEST_LABEL: usize = 63;
/// What every client takes without EDNS (RFC 1035, 2.3.4).
pub const PLAIN_UDP: usize = 512;
/// The class IN, the only one that is served.
pub const IN: u16 = 1;
/// A pointer to the name of the question, which always stands after the header.
pub const TO_QUESTION: u16 = 0xC00C;

/// Reads two octets.
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let pair = bytes.get(at..at + 2)?;
    Some(u16::from_be_bytes([pair[0], pair[1]]))
}

#[cfg(test)]
mod tests;
