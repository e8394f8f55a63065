//! The PROXY protocol, versions 1 and 2: a proxy in front says at the start of a
//! connection who its client is (HAProxy's `proxy-protocol.txt`).
//!
//! ```text
//! bytes --parse--> Parsed { header, length } | Incomplete { needed } | Refused
//! addresses --encode_v1, encode_v2--> bytes
//! ```
//!
//! Pure: it reads no socket and believes nobody. Whom to believe is the listener's business.
//!
//! Why not the crate `ppp` (2.3): it cannot tell a header that is cut off from one
//! that is wrong in version 1 (half an address is `InvalidSourceAddress`), takes
//! `+80` for a port, family and transport in combinations that the specification
//! forbids, and 64 KiB of TLVs, and verifies neither the TLVs nor their checksum.

mod checksum;
mod config;
mod encode;
mod tlv;
mod v1;
mod v2;

use std::net::SocketAddr;

pub use self::config::ProxyHeader;
pub use self::encode::{LOCAL_V1, LOCAL_V2, encode_v1, encode_v2};

/// The most bytes of a header, of either version.
pub const LIMIT: usize = 4096;

/// What the first bytes of a connection are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsing {
    /// A header, and so many bytes of it; what follows is the client's.
    Parsed {
        /// The header.
        header: Header,
        /// Its bytes.
        length: usize,
    },
    /// A header as far as it goes. At least so many bytes of it are to come, so
    /// that a reader who takes no more never reads what follows.
    Incomplete {
        /// At least one.
        needed: usize,
    },
    /// No header, or a wrong one: the connection is to be ended.
    Refused(Refusal),
}

/// What a header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// How it is written.
    pub version: Version,
    /// Whose connection it is.
    pub origin: Origin,
    /// What else is known of it; nothing in version 1.
    pub tlvs: Tlvs,
}

/// How a header is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// As a line of text.
    V1,
    /// In binary.
    V2,
}

/// Whose connection it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The proxy's own, such as a health check.
    Local,
    /// A client's that the proxy does not name.
    Unknown,
    /// A client's on the Internet.
    Inet {
        /// Where the client is.
        source: SocketAddr,
        /// What it connected to.
        destination: SocketAddr,
        /// Whether it speaks UDP.
        datagram: bool,
    },
    /// A client's on a UNIX socket; the paths without their padding.
    Unix {
        /// The client's, often empty.
        source: Vec<u8>,
        /// What it connected to.
        destination: Vec<u8>,
        /// Whether it is a datagram socket.
        datagram: bool,
    },
}

/// What else a header of version 2 says. TLVs of other types are passed over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tlvs {
    /// The host name that the client asked for (SNI).
    pub authority: Option<String>,
    /// The protocol that was agreed on (ALPN).
    pub alpn: Option<Vec<u8>>,
    /// An id of the connection, at most 128 bytes.
    pub unique_id: Option<Vec<u8>>,
    /// The client's TLS.
    pub ssl: Option<Box<Ssl>>,
    /// Whether a CRC32c was there; one that is wrong is refused.
    pub checksum: bool,
}

/// The client's TLS, as the proxy saw it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ssl {
    /// Whether the client spoke TLS.
    pub tls: bool,
    /// Whether it showed a certificate in this connection.
    pub certificate: bool,
    /// Whether it showed one in this TLS session, earlier perhaps.
    pub session_certificate: bool,
    /// Whether the certificate was found good; false also when there was none.
    pub verified: bool,
    /// Such as `TLSv1.3`.
    pub version: Option<String>,
    /// The common name in the certificate.
    pub common_name: Option<String>,
    /// The cipher.
    pub cipher: Option<String>,
    /// How the certificate is signed.
    pub signature_algorithm: Option<String>,
    /// The kind of its key.
    pub key_algorithm: Option<String>,
}

/// Why a header is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The client speaks without one.
    #[error("no PROXY protocol header")]
    NoHeader,
    /// Larger than [`LIMIT`], or than the 107 bytes of version 1.
    #[error("the PROXY protocol header is too long")]
    TooLong,
    /// A line of version 1 that is not one of its three forms.
    #[error("malformed PROXY protocol line")]
    Line,
    /// A version, command, family or transport that the specification does not have.
    #[error("unknown kind of PROXY protocol header")]
    Kind,
    /// Shorter than its addresses, or a TLV that does not fit or occurs twice.
    #[error("malformed PROXY protocol TLVs")]
    Tlvs,
    /// The CRC32c is wrong.
    #[error("wrong checksum of the PROXY protocol header")]
    Checksum,
}

/// Reads the header at the start of a connection.
pub fn parse(bytes: &[u8]) -> Parsing {
    let outcome = if starts(bytes, v2::SIGNATURE) && !bytes.is_empty() {
        v2::parse(bytes)
    } else if starts(bytes, v1::PREFIX) {
        v1::parse(bytes)
    } else {
        Err(Refusal::NoHeader)
    };
    match outcome {
        Ok(Progress::Done(header, length)) => Parsing::Parsed { header, length },
        Ok(Progress::Needs(needed)) => Parsing::Incomplete { needed },
        Err(refusal) => Parsing::Refused(refusal),
    }
}

enum Progress {
    Done(Header, usize),
    Needs(usize),
}

/// Whether the bytes can still become ones that start so.
fn starts(bytes: &[u8], with: &[u8]) -> bool {
    let common = bytes.len().min(with.len());
    bytes[..common] == with[..common]
}

#[cfg(test)]
mod tests;
