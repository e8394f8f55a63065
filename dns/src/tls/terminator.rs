//! The handshake of a listener.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use chassis::tls::{Certificate, Handshakes, Outcome, Reason, Resolver, Tickets};
use rustls::crypto::CryptoProvider;
use rustls::server::NoServerSessionStorage;
use rustls::{HandshakeKind, ServerConfig, SupportedProtocolVersion};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// How one listener speaks TLS.
pub(crate) struct Terminator {
    acceptor: TlsAcceptor,
    patience: Duration,
    pub(super) tickets: Option<Arc<Tickets>>,
    pub(crate) handshakes: Arc<Handshakes>,
    pub(crate) certificates: Vec<Arc<Certificate>>,
}

/// What a [`Terminator`] is made of.
pub(crate) struct Parts {
    pub(crate) provider: Arc<CryptoProvider>,
    pub(crate) versions: Vec<&'static SupportedProtocolVersion>,
    /// The first is the default.
    pub(crate) certificates: Vec<Arc<Certificate>>,
    pub(crate) resolver: Resolver<Arc<Certificate>>,
    /// None when sessions cannot go on.
    pub(crate) tickets: Option<Arc<Tickets>>,
    /// Application protocols, in the order in which they are chosen (RFC 7301).
    pub(crate) alpn: &'static [&'static [u8]],
    /// How long a handshake may take.
    pub(crate) patience: Duration,
    pub(crate) handshakes: Arc<Handshakes>,
}

impl Terminator {
    /// Prepares everything that is the same for each handshake.
    ///
    /// # Errors
    /// When the versions do not fit the provider.
    pub(crate) fn new(parts: Parts) -> Result<Self, rustls::Error> {
        let builder = ServerConfig::builder_with_provider(parts.provider);
        let mut config = builder
            .with_protocol_versions(&parts.versions)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(parts.resolver));
        config.alpn_protocols = parts.alpn.iter().map(|&protocol| protocol.into()).collect();
        // Sessions are in tickets alone: a table of them would be one more thing to be filled up by strangers.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        if let Some(tickets) = &parts.tickets {
            config.ticketer = tickets.clone();
        }
        Ok(Self {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            patience: parts.patience,
            tickets: parts.tickets,
            handshakes: parts.handshakes,
            certificates: parts.certificates,
        })
    }

    /// Does the handshake in its time, and counts how it ended.
    ///
    /// # Errors
    /// What is left of the connection when there was none, if anything.
    pub(crate) async fn handshake<S>(
        &self,
        stream: S,
        client: SocketAddr,
    ) -> Result<TlsStream<S>, Option<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let accepting = self.acceptor.accept(stream).into_fallible();
        let (reason, stream) = match tokio::time::timeout(self.patience, accepting).await {
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
        f.debug_struct("Terminator").finish_non_exhaustive()
    }
}
