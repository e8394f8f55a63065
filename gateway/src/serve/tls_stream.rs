//! A client's TLS connection, as Pingora wants one.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_trait::async_trait;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    TimingDigest, UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio_rustls::server::TlsStream as Inner;

use super::connected::Connected;
use super::connection::Connection;

/// A client's TLS connection after the handshake.
#[derive(Debug)]
pub(crate) struct TlsStream {
    inner: Inner<Connection>,
    connected: Option<Arc<ProxyDigest>>,
}

impl TlsStream {
    /// A connection after its handshake.
    pub(super) fn new(inner: Inner<Connection>) -> Self {
        Self {
            inner,
            connected: None,
        }
    }

    /// Adds what is known of the client.
    pub(super) fn connected(mut self, connected: Connected) -> Self {
        self.connected = connected.into_digest();
        self
    }

    /// Whether HTTP/2 was agreed on.
    pub(super) fn speaks_h2(&self) -> bool {
        self.inner.get_ref().1.alpn_protocol() == Some(b"h2")
    }

    pub(super) fn connection(&self) -> &Connection {
        self.inner.get_ref().0
    }
}

impl AsFd for TlsStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.connection().as_fd()
    }
}

impl AsyncRead for TlsStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[async_trait]
impl Shutdown for TlsStream {
    async fn shutdown(&mut self) {
        let _ = AsyncWriteExt::shutdown(self).await;
    }
}

#[async_trait]
impl Peek for TlsStream {}

impl UniqueID for TlsStream {
    fn id(&self) -> UniqueIDType {
        self.connection().id()
    }
}

impl Ssl for TlsStream {
    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.speaks_h2().then_some(ALPN::H2)
    }
}

impl GetTimingDigest for TlsStream {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.connection().get_timing_digest()
    }
}

impl GetProxyDigest for TlsStream {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.connected.clone()
    }
}

impl GetSocketDigest for TlsStream {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.connection().get_socket_digest()
    }
}
