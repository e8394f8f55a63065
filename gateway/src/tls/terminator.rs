//! How one listener speaks TLS: chooses what to answer a ClientHello with, and does the handshake.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use chassis::tls::{Handshakes, Lack, Outcome, Reason, Tickets};
use plugins::TlsSession;
use rustls::crypto::CryptoProvider;
use rustls::server::{Acceptor, ClientHello, NoServerSessionStorage, ProducesTickets};
use rustls::version::TLS12;
use rustls::{
    AlertDescription, HandshakeKind, ProtocolVersion, ServerConfig, ServerConnection,
    SupportedProtocolVersion,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::challenge::{Challenges, is_challenge};
use super::client_auth::ClientAuth;
use super::client_certificate;
use super::expiry::Dates;
use super::source::Source;
use super::suites::suite_name;
use crate::config::UnknownNames;

/// Every certificate of a listener.
pub(crate) type Resolver = chassis::tls::Resolver<Source>;

/// How one listener speaks TLS.
pub(crate) struct Terminator {
    config: Arc<ServerConfig>,
    resolver: Arc<Resolver>,
    unknown_names: UnknownNames,
    speaks_tls12: bool,
    tickets: Option<Arc<Tickets>>,
    challenges: Challenges,
    pub(crate) handshakes: Arc<Handshakes>,
    pub(crate) dates: Dates,
}

/// What a [`Terminator`] is made of.
pub(crate) struct Parts {
    /// With the suites and groups that may be used, in order.
    pub(crate) provider: Arc<CryptoProvider>,
    pub(crate) versions: Vec<&'static SupportedProtocolVersion>,
    /// Whether the provider's order of suites counts, and not the client's.
    pub(crate) own_order: bool,
    pub(crate) resolver: Resolver,
    pub(crate) unknown_names: UnknownNames,
    /// None when clients are not asked for certificates.
    pub(crate) client_auth: Option<ClientAuth>,
    /// None when sessions cannot go on.
    pub(crate) tickets: Option<Arc<Tickets>>,
    /// Application protocols, in the order in which they are chosen (RFC 7301).
    pub(crate) alpn: &'static [&'static [u8]],
    pub(crate) challenges: Challenges,
    pub(crate) handshakes: Arc<Handshakes>,
    pub(crate) dates: Dates,
}

/// A handshake that failed.
#[derive(Debug)]
pub(crate) struct Failure<IO> {
    pub(crate) reason: Reason,
    /// What is left of the connection; an alert may not have been flushed yet.
    pub(crate) io: Option<IO>,
}

impl Terminator {
    /// Prepares everything that is the same for each handshake.
    ///
    /// # Errors
    /// When suites, groups and versions do not fit together.
    pub(crate) fn new(parts: Parts) -> Result<Self, rustls::Error> {
        let resolver = Arc::new(parts.resolver);
        let builder = ServerConfig::builder_with_provider(parts.provider)
            .with_protocol_versions(&parts.versions)?;
        let with_certificates = parts.client_auth.is_some();
        let builder = match parts.client_auth {
            Some(auth) => builder.with_client_cert_verifier(auth.verifier),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(resolver.clone());
        config.alpn_protocols = parts.alpn.iter().map(|&protocol| protocol.into()).collect();
        config.ignore_client_order = parts.own_order;
        // Sessions are in tickets alone: a table of them would be a lock that all workers share.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        if let Some(tickets) = &parts.tickets {
            config.ticketer = match with_certificates {
                true => Arc::new(UnexpiredTickets(tickets.clone())),
                false => tickets.clone(),
            };
        }
        Ok(Self {
            config: Arc::new(config),
            resolver,
            unknown_names: parts.unknown_names,
            speaks_tls12: parts.versions.contains(&&TLS12),
            tickets: parts.tickets,
            challenges: parts.challenges,
            handshakes: parts.handshakes,
            dates: parts.dates,
        })
    }

    /// The tickets, for the next state of the same listener.
    pub(crate) fn tickets(&self) -> Option<&Arc<Tickets>> {
        self.tickets.as_ref()
    }

    /// Does the handshake. It has no deadline of its own.
    ///
    /// # Errors
    /// Why there was none.
    pub(crate) async fn handshake<IO>(
        &self,
        io: IO,
    ) -> Result<(TlsStream<IO>, TlsSession), Failure<IO>>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let mut acceptor = LazyConfigAcceptor::new(Acceptor::default(), io);
        let mut start = match (&mut acceptor).await {
            Ok(start) => start,
            Err(error) => {
                let reason = Reason::behind(&error);
                let io = acceptor.take_io();
                return Err(Failure { reason, io });
            }
        };
        let config = match self.answer(&start.client_hello()) {
            Ok(config) => config,
            Err((outcome, alert)) => {
                let name = start.client_hello().server_name().map(str::to_owned);
                let detail = name.unwrap_or_default();
                let reason = Reason { outcome, detail };
                // Who cannot be told will notice.
                let _ = send_alert(&mut start.io, alert).await;
                let io = Some(start.io);
                return Err(Failure { reason, io });
            }
        };
        match start.into_stream(config).into_fallible().await {
            Ok(stream) if is_challenge(stream.get_ref().1) => Err(Failure {
                reason: Reason::of(Outcome::AcmeChallenge),
                io: Some(stream.into_inner().0),
            }),
            Ok(stream) => {
                let session = session(stream.get_ref().1);
                if has_expired(&session) {
                    let reason = Reason {
                        outcome: Outcome::BadClientCertificate,
                        detail: "it has expired since the session began".into(),
                    };
                    let io = None;
                    return Err(Failure { reason, io });
                }
                Ok((stream, session))
            }
            Err((error, io)) => Err(Failure {
                reason: Reason::behind(&error),
                io: Some(io),
            }),
        }
    }

    /// What a ClientHello is answered with.
    fn answer(
        &self,
        hello: &ClientHello<'_>,
    ) -> Result<Arc<ServerConfig>, (Outcome, AlertDescription)> {
        let known = |name: &str| self.resolver.knows(name);
        if let Some(challenge) = self.challenges.answer(hello, known) {
            return challenge.ok_or(NO_CHALLENGE);
        }
        let name = hello.server_name();
        if self.unknown_names == UnknownNames::Refuse {
            match name {
                None => return Err((Outcome::NoName, AlertDescription::MissingExtension)),
                Some(name) if !self.resolver.knows(name) => {
                    return Err((Outcome::UnknownName, AlertDescription::UnrecognisedName));
                }
                Some(_) => {}
            }
        }
        // rustls would notice both, but has no fitting alert for them.
        if !self.shares_suite(hello) {
            return Err((Outcome::NoSharedSuite, AlertDescription::HandshakeFailure));
        }
        match self.resolver.choose(name, hello.signature_schemes()) {
            Ok(_) => {}
            Err(Lack::Signature) => {
                let failure = AlertDescription::HandshakeFailure;
                return Err((Outcome::NoSharedSignature, failure));
            }
            Err(Lack::Certificate) => {
                return Err((Outcome::NoCertificate, AlertDescription::InternalError));
            }
        }
        Ok(self.config.clone())
    }

    /// False when the client has no suite of ours. True when only TLS 1.3 is spoken: then it may
    /// be the version that is not shared, which comes first.
    fn shares_suite(&self, hello: &ClientHello<'_>) -> bool {
        let ours = &self.config.crypto_provider().cipher_suites;
        let mut theirs = hello.cipher_suites().iter();
        !self.speaks_tls12 || theirs.any(|suite| ours.iter().any(|our| our.suite() == *suite))
    }
}

/// An authority asks for a challenge that nobody waits for: what a server without ACME answers.
const NO_CHALLENGE: (Outcome, AlertDescription) = (
    Outcome::NoSharedProtocol,
    AlertDescription::NoApplicationProtocol,
);

impl fmt::Debug for Terminator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Terminator").finish_non_exhaustive()
    }
}

/// Tickets of clients that show certificates, which may expire while a ticket holds.
///
/// A certificate is verified only when it is shown, so an old one must be shown again, or a new one.
#[derive(Debug)]
struct UnexpiredTickets(Arc<Tickets>);

impl ProducesTickets for UnexpiredTickets {
    fn enabled(&self) -> bool {
        self.0.enabled()
    }

    fn lifetime(&self) -> u32 {
        self.0.lifetime()
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.0.encrypt(plain)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let session = self.0.decrypt(ticket)?;
        let until = client_certificate::not_after_within(&session);
        let holds = until.is_none_or(|until| SystemTime::now() < until);
        holds.then_some(session)
    }
}

/// Tells the client why before anything is encrypted (RFC 8446, section 6), with the next flush.
async fn send_alert(io: &mut (impl AsyncWrite + Unpin), alert: AlertDescription) -> io::Result<()> {
    const ALERT: u8 = 21;
    const FATAL: u8 = 2;
    io.write_all(&[ALERT, 3, 3, 0, 2, FATAL, alert.into()])
        .await
}

/// Whether a session goes on that began with a certificate which has expired since: it is verified
/// only when it is shown.
fn has_expired(session: &TlsSession) -> bool {
    let certificate = session.certificate.as_ref().filter(|_| session.resumed);
    certificate.is_some_and(|certificate| certificate.not_after < SystemTime::now())
}

/// What both sides have agreed on.
fn session(connection: &ServerConnection) -> TlsSession {
    let version = match connection.protocol_version() {
        Some(ProtocolVersion::TLSv1_3) => "1.3",
        _ => "1.2",
    };
    let suite = connection.negotiated_cipher_suite();
    let chain = connection.peer_certificates();
    TlsSession {
        version,
        cipher: suite.map_or("unknown", suite_name),
        server_name: connection.server_name().map(Into::into),
        resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
        certificate: chain.and_then(|chain| client_certificate::read(chain.first()?)),
    }
}
