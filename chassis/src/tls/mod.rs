//! TLS with clients, as far as every role needs it alike.
//!
//! ```text
//! configuration -> files -> Certificate -> Resolver: which certificate, by the name that a client asks for
//!                        -> Tickets: which session goes on
//! handshake -> Outcome, or a Reason for there being none -> Handshakes: counted
//! ```
//!
//! How a listener puts them together is its role's business.

mod certificate;
mod config;
mod files;
mod ocsp;
mod outcome;
mod resolver;
mod tickets;

pub use self::certificate::{Certificate, Digest, Files, Unusable, digest, time};
pub use self::config::{CertificateConfig, TicketsConfig, TlsVersion};
pub use self::files::{Reader, Written};
pub use self::outcome::{Handshakes, Outcome, Reason};
pub use self::resolver::{Lack, Resolver, Source, Twice};
pub use self::tickets::{TicketSettings, Tickets};
