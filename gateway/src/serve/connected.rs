//! What is known of a client's connection, carried through Pingora to each of its requests.

use std::net::SocketAddr;
use std::sync::Arc;

use pingora_core::protocols::Digest;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_http::ResponseHeader;
use plugins::Client;

use crate::state::ListenerState;

/// A client's connection.
#[derive(Clone, Debug)]
pub(crate) struct Connected {
    pub(crate) client: Client,
    /// As it was when the connection came.
    pub(crate) listener: Arc<ListenerState>,
    /// What the client connected to; none on a Unix socket.
    pub(crate) local: Option<SocketAddr>,
    /// The client's address as upstreams are told it; empty on a Unix socket.
    pub(crate) shown: Box<str>,
}

impl Connected {
    pub(crate) fn new(
        client: Client,
        listener: Arc<ListenerState>,
        local: Option<SocketAddr>,
    ) -> Self {
        let shown = client.address.map(|address| address.ip().to_string());
        Self {
            client,
            listener,
            local,
            shown: shown.unwrap_or_default().into(),
        }
    }

    /// What was put into a connection's digest.
    pub(crate) fn of(digest: Option<&Digest>) -> Option<&Self> {
        let data = digest?.proxy_digest.as_ref()?.user_data.as_ref()?;
        data.downcast_ref()
    }

    /// Where the client is, and what it connected to; none when one of them is a Unix socket.
    pub(crate) fn addresses(&self) -> Option<(SocketAddr, SocketAddr)> {
        Some((self.client.address?, self.local?))
    }

    /// The place in a digest that Pingora leaves to its users.
    pub(crate) fn into_digest(self) -> Option<Arc<ProxyDigest>> {
        let unused = ResponseHeader::build_no_case(200, Some(0)).ok()?;
        Some(Arc::new(ProxyDigest::new(
            Box::new(unused),
            Some(Box::new(self)),
        )))
    }
}
