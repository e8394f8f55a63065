//! TLS with clients, as far as every role needs it alike.
//!
//! ```text
//! configuration -> files -> Certificate -> Resolver: which certificate, by the name that a client asks for
//!                        -> Tickets: which session goes on
//! Terms: what a role wants of TLS for a listener or some names --Reading--> Terminator --handshake--> stream
//! handshake -> Outcome, or a Reason for there being none -> Handshakes: counted
//! ```
//!
//! Which listener speaks TLS on which terms is its role's business. The gateway has its own: there Pingora does handshakes.

mod certificate;
mod config;
mod files;
mod ocsp;
mod outcome;
mod resolver;
mod terminator;
mod terms;
mod tickets;

pub use self::certificate::{Certificate, Digest, Files, Unusable, digest, time};
pub use self::config::{CertificateConfig, TicketsConfig, TlsVersion};
pub use self::files::{Reader, Written};
pub use self::outcome::{Handshakes, Outcome, Reason};
pub use self::resolver::{Lack, Resolver, Source, Twice};
pub use self::terminator::Terminator;
pub use self::terms::{Reading, Terms};
pub use self::tickets::{TicketSettings, Tickets};
