//! From a socket to whatever serves its connections.
//!
//! ```text
//! accept -> limits -> PROXY header -> TLS handshake -> tcp: queries | http: requests
//! ```

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;

use super::ahead::Ahead;
use super::client::Permit;
use super::leave::take_leave;
use super::respond::Asking;
use super::tcp::Connection;
use super::{Refusal, Shared, TcpLimits, http, proxy};
use crate::state::ListenerState;

/// After a failure to accept, above all for want of descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// Accepts connections until the listener is closed.
pub(super) async fn accept(
    socket: TcpListener,
    listener: Arc<ArcSwap<ListenerState>>,
    shared: Arc<Shared>,
    closed: watch::Receiver<bool>,
) {
    let mut closing = closed.clone();
    let mut closing = pin!(closing.wait_for(|closing| *closing));
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            _ = &mut closing => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                let accepted = Accepted {
                    peer,
                    listener: listener.load_full(),
                    limits: shared.state.load().tcp,
                    shared: shared.clone(),
                    closed: closed.clone(),
                };
                match accepted.admit() {
                    Ok(permit) => drop(tokio::spawn(accepted.serve(stream, permit))),
                    Err(refusal) => shared.counts.refuse(refusal),
                }
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// A connection, before anything was read of it.
struct Accepted {
    peer: SocketAddr,
    listener: Arc<ListenerState>,
    limits: TcpLimits,
    shared: Arc<Shared>,
    closed: watch::Receiver<bool>,
}

impl Accepted {
    fn admit(&self) -> Result<Permit, Refusal> {
        // Behind a proxy are many clients.
        let ip = self.peer.ip();
        let client = Some(ip).filter(|ip| !self.listener.trusts(*ip));
        let transport = self.listener.transport();
        self.shared.clients.admit(client, transport, &self.limits)
    }

    async fn serve(self, stream: TcpStream, mut permit: Permit) {
        // An answer waits for no other to go with it.
        let _ = stream.set_nodelay(true);
        let mut stream = Ahead::new(stream);
        let header = proxy::read(&mut stream, &self.listener, self.peer);
        let client = match timeout(self.limits.progress, header).await {
            Ok(Ok(client)) => client,
            Ok(Err(_)) | Err(_) => return self.shared.counts.refuse(Refusal::ProxyHeader),
        };
        if client != self.peer
            && let Err(refusal) = permit.claim(client.ip(), &self.limits)
        {
            return self.shared.counts.refuse(refusal);
        }
        let Some(terminator) = self.listener.tls.clone() else {
            return self.talk(stream, client).await;
        };
        match terminator
            .handshake(stream, client, self.listener.handshake)
            .await
        {
            Ok(stream) => self.talk(stream, client).await,
            Err(Some(mut stream)) => take_leave(&mut stream).await,
            Err(None) => {}
        }
    }

    async fn talk(self, stream: impl AsyncRead + AsyncWrite + Unpin + 'static, client: SocketAddr) {
        let Self {
            listener,
            limits,
            shared,
            closed,
            ..
        } = self;
        if listener.http.is_some() {
            return http::serve(stream, client, listener, shared, limits, closed).await;
        }
        let asking = Asking {
            client: client.ip(),
            transport: listener.transport(),
            keepalive: None,
        };
        let connection = Connection::new(stream, asking, shared, limits);
        let ended: io::Result<()> = connection.serve(closed).await;
        if let Err(error) = ended {
            tracing::debug!(%client, %error, "a connection broke");
        }
    }
}
