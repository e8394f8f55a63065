//! How handshakes end: counted by outcome, and told to the log as far as that is useful.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::{AlertDescription, Error, InvalidMessage, PeerIncompatible};

use crate::telemetry::{Cells, may_log};

/// How a handshake ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Outcome {
    /// A new session.
    Full,
    /// An earlier session goes on.
    Resumed,
    /// It took too long.
    Slow,
    /// The client has closed the connection.
    Gone,
    /// The client does not speak TLS.
    NotTls,
    /// The client has broken the protocol.
    Malformed,
    /// No version is spoken by both.
    NoSharedVersion,
    /// No cipher suite is known to both.
    NoSharedSuite,
    /// No group for the key exchange is known to both.
    NoSharedGroup,
    /// No certificate for this name has a key of a kind that the client can verify.
    NoSharedSignature,
    /// No protocol of the client's ALPN list is spoken here.
    NoSharedProtocol,
    /// The client lacks something else that is needed.
    Incompatible,
    /// The client asked for a name that no certificate has.
    UnknownName,
    /// The client asked for no name.
    NoName,
    /// There is no certificate yet.
    NoCertificate,
    /// The client has shown no certificate.
    NoClientCertificate,
    /// The client's certificate is not valid.
    BadClientCertificate,
    /// The client has refused with an alert: it does not trust our certificate, perhaps.
    RefusedByClient,
    /// It failed here.
    Internal,
    /// It was not for a client, but proved to an authority that a name leads here (RFC 8737).
    AcmeChallenge,
}

/// The handshakes of one listener; survives reloads by the listener's name.
#[derive(Debug)]
pub struct Handshakes {
    listener: Arc<str>,
    counts: Cells,
}

/// Why there was no handshake.
#[derive(Debug)]
pub struct Reason {
    /// How it ended.
    pub outcome: Outcome,
    /// In the words of whoever knows best; may be empty.
    pub detail: String,
}

impl Outcome {
    /// Every outcome, by its number.
    pub const ALL: [Self; 20] = [
        Self::Full,
        Self::Resumed,
        Self::Slow,
        Self::Gone,
        Self::NotTls,
        Self::Malformed,
        Self::NoSharedVersion,
        Self::NoSharedSuite,
        Self::NoSharedGroup,
        Self::NoSharedSignature,
        Self::NoSharedProtocol,
        Self::Incompatible,
        Self::UnknownName,
        Self::NoName,
        Self::NoCertificate,
        Self::NoClientCertificate,
        Self::BadClientCertificate,
        Self::RefusedByClient,
        Self::Internal,
        Self::AcmeChallenge,
    ];

    /// Its name in metrics and logs; stable.
    pub fn label(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Resumed => "resumed",
            Self::Slow => "slow_handshake",
            Self::Gone => "gone",
            Self::NotTls => "not_tls",
            Self::Malformed => "malformed",
            Self::NoSharedVersion => "no_shared_version",
            Self::NoSharedSuite => "no_shared_suite",
            Self::NoSharedGroup => "no_shared_group",
            Self::NoSharedSignature => "no_shared_signature",
            Self::NoSharedProtocol => "no_shared_protocol",
            Self::Incompatible => "incompatible",
            Self::UnknownName => "unknown_name",
            Self::NoName => "no_name",
            Self::NoCertificate => "no_certificate",
            Self::NoClientCertificate => "no_client_certificate",
            Self::BadClientCertificate => "bad_client_certificate",
            Self::RefusedByClient => "refused_by_client",
            Self::Internal => "internal",
            Self::AcmeChallenge => "acme_challenge",
        }
    }
}

impl Handshakes {
    /// None yet, of a listener with this name.
    pub fn new(listener: Arc<str>) -> Self {
        Self {
            listener,
            counts: Cells::new(Outcome::ALL.len()),
        }
    }

    /// Counts a handshake that came about.
    pub fn done(&self, resumed: bool) {
        let outcome = match resumed {
            true => Outcome::Resumed,
            false => Outcome::Full,
        };
        self.counts.add(outcome as usize, 1);
    }

    /// Counts one that did not, with this client.
    pub fn failed(&self, reason: &Reason, client: Option<SocketAddr>) {
        let Reason { outcome, detail } = reason;
        self.counts.add(*outcome as usize, 1);
        // Whoever looks whether the port is open says nothing, and is gone: that tells nobody anything.
        let tells = !matches!(outcome, Outcome::Gone | Outcome::AcmeChallenge);
        if tells && may_log() {
            tracing::info!(
                listener = &*self.listener,
                client = client.map(tracing::field::display),
                reason = outcome.label(),
                detail,
                "no TLS handshake"
            );
        }
    }

    /// How many there were of each outcome that there was any of.
    pub fn counted(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counted = Outcome::ALL.into_iter();
        let counted = counted.map(|one| (one.label(), self.counts.sum(one as usize)));
        counted.filter(|(_, count)| *count > 0)
    }
}

impl Reason {
    /// A reason that needs no more words.
    pub fn of(outcome: Outcome) -> Self {
        Self {
            outcome,
            detail: String::new(),
        }
    }

    /// Why a handshake ended in this error.
    pub fn behind(error: &io::Error) -> Self {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
        let detail = error.to_string();
        match inner {
            Some(error) => Self {
                outcome: judge(error),
                detail,
            },
            None => Self {
                outcome: Outcome::Gone,
                detail,
            },
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.outcome.label())
    }
}

fn judge(error: &Error) -> Outcome {
    match error {
        // Only clients show certificates to a server.
        Error::InvalidCertificate(_) | Error::InvalidCertRevocationList(_) => {
            Outcome::BadClientCertificate
        }
        Error::NoCertificatesPresented => Outcome::NoClientCertificate,
        Error::NoApplicationProtocol => Outcome::NoSharedProtocol,
        Error::PeerIncompatible(what) => incompatible(what),
        // What there is for the name does not fit the suites of the client.
        Error::General(what) if what.contains("no server certificate") => {
            Outcome::NoSharedSignature
        }
        Error::AlertReceived(AlertDescription::CloseNotify | AlertDescription::UserCanceled) => {
            Outcome::Gone
        }
        Error::AlertReceived(_) => Outcome::RefusedByClient,
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => Outcome::NotTls,
        Error::InvalidMessage(_)
        | Error::InappropriateMessage { .. }
        | Error::InappropriateHandshakeMessage { .. }
        | Error::PeerMisbehaved(_)
        | Error::PeerSentOversizedRecord
        | Error::DecryptError => Outcome::Malformed,
        _ => Outcome::Internal,
    }
}

fn incompatible(what: &PeerIncompatible) -> Outcome {
    match what {
        PeerIncompatible::NoCipherSuitesInCommon => Outcome::NoSharedSuite,
        PeerIncompatible::NoKxGroupsInCommon => Outcome::NoSharedGroup,
        PeerIncompatible::NoSignatureSchemesInCommon
        | PeerIncompatible::NoCertificateRequestSignatureSchemesInCommon => {
            Outcome::NoSharedSignature
        }
        PeerIncompatible::ServerDoesNotSupportTls12Or13
        | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
        | PeerIncompatible::SupportedVersionsExtensionRequired
        | PeerIncompatible::Tls12NotOffered
        | PeerIncompatible::Tls12NotOfferedOrEnabled => Outcome::NoSharedVersion,
        _ => Outcome::Incompatible,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_counted_by_their_numbers() {
        for (at, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, at);
        }
        let handshakes = Handshakes::new("l".into());
        handshakes.done(true);
        handshakes.failed(&Reason::of(Outcome::Slow), None);
        handshakes.failed(&Reason::behind(&io::ErrorKind::UnexpectedEof.into()), None);
        let counted: Vec<_> = handshakes.counted().collect();
        assert_eq!(
            counted,
            [("resumed", 1), ("slow_handshake", 1), ("gone", 1)]
        );
    }
}
