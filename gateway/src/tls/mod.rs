//! TLS with clients: certificates, tickets, client certificates, and the handshake.
//!
//! ```text
//! compile: files -> Certificate -> Source -> Resolver --+
//!          client_certificates -> ClientAuth -----------+-> Terminator (one a listener)
//!          tickets (carried over from the last state) --+
//! connection: ClientHello -> Terminator: which configuration -> Resolver: which certificate
//!             -> TlsSession for plugins, or an Outcome for the metrics and the log
//! ```
//!
//! Nothing here reads files or knows HTTP. What other roles need too is in [`chassis::tls`].

mod challenge;
mod client_auth;
mod client_certificate;
mod expiry;
mod source;
mod suites;
mod terminator;

pub(crate) use chassis::tls::{Handshakes, Outcome, Reason};

pub(crate) use self::challenge::Challenges;
pub(crate) use self::client_auth::{ClientAuth, Untrusted};
pub(crate) use self::expiry::{Dates, warn, warn_daily, warnings};
pub(crate) use self::source::Source;
pub(crate) use self::suites::{GROUPS, group, suite, suite_names};
pub(crate) use self::terminator::{Failure, Parts, Resolver, Terminator};
