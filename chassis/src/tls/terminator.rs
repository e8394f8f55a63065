//! The handshakes that a role does for its clients.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::CryptoProvider;
use rustls::server::NoServerSessionStorage;
use rustls::{HandshakeKind, ServerConfig, SupportedProtocolVersion};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::{Certificate, Handshakes, Outcome, Reason, Resolver, Tickets};

/// How TLS is spoken by one listener, or for one set of names.
pub struct Terminator {
    acceptor: TlsAcceptor,
    /// What it is known by over reloads.
    pub scope: Box<str>,
    pub(super) tickets: Option<Arc<Tickets>>,
    /// How handshakes have ended.
    pub handshakes: Arc<Handshakes>,
    /// The first is the default.
    pub certificates: Vec<Arc<Certificate>>,
}

/// What a [`Terminator`] is made of.
pub(super) struct Parts {
    pub(super) scope: Box<str>,
    pub(super) provider: Arc<CryptoProvider>,
    pub(super) versions: Vec<&'static SupportedProtocolVersion>,
    /// The first is the default.
    pub(super) certificates: Vec<Arc<Certificate>>,
    pub(super) resolver: Resolver<Arc<Certificate>>,
    /// None when sessions cannot go on.
    pub(super) tickets: Option<Arc<Tickets>>,
    /// Application protocols, in the order in which they are chosen (RFC 7301).
    pub(super) alpn: Vec<Vec<u8>>,
    pub(super) handshakes: Arc<Handshakes>,
}

impl Terminator {
    /// Prepares everything that is the same for each handshake.
    ///
    /// # Errors
    /// When the versions do not fit the provider.
    pub(super) fn new(parts: Parts) -> Result<Self, rustls::Error> {
        let builder = ServerConfig::builder_with_provider(parts.provider);
        let mut config = builder
            .with_protocol_versions(&parts.versions)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(parts.resolver));
        config.alpn_protocols = parts.alpn;
        // Sessions are in tickets alone: a table of them would be one more thing to be filled up by strangers.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        if let Some(tickets) = &parts.tickets {
            config.ticketer = tickets.clone();
        }
        Ok(Self {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            scope: parts.scope,
            tickets: parts.tickets,
            handshakes: parts.handshakes,
            certificates: parts.certificates,
        })
    }

    /// Does a handshake within so long, and counts how it ended.
    ///
    /// # Errors
    /// What is left of the connection when there was none, if anything.
    pub async fn handshake<S>(
        &self,
        stream: S,
        client: SocketAddr,
        patience: Duration,
    ) -> Result<TlsStream<S>, Option<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let accepting = self.acceptor.accept(stream).into_fallible();
        let (reason, stream) = match tokio::time::timeout(patience, accepting).await {
            Ok(Ok(stream)) => {
                let kind = stream.get_ref().1.handshake_kind();
                self.handshakes.done(kind == Some(HandshakeKind::Resumed));
                return Ok(stream);
            }
            Ok(Err((error, stream))) => (Reason::behind(&error), Some(stream)),
            Err(_) => (Reason::of(Outcome::Slow), None),
        };
        self.handshakes.failed(&reason, Some(client));
        Err(stream)
    }
}

impl fmt::Debug for Terminator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = f.debug_struct("Terminator");
        text.field("scope", &self.scope).finish_non_exhaustive()
    }
}
