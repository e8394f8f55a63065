//! What carries a client's bytes: a plain socket, or TLS over it.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use pingora_core::protocols::{SocketDigest, Stream};
use rustix::net::sockopt::set_socket_linger;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connected::Connected;
use super::connection::{Connection, socket_digest};
use super::socket::{Socket, is_silent};
use super::tls_stream::TlsStream;

/// A client's byte stream.
#[derive(Debug)]
pub(crate) enum Transport {
    /// Without TLS.
    Plain(Socket),
    /// With TLS.
    Tls(Box<TlsStream>),
}

/// Calls the same method of whatever carries the bytes.
macro_rules! carry {
    ($this:expr, $stream:ident => $call:expr) => {
        match $this.get_mut() {
            Transport::Plain($stream) => $call,
            Transport::Tls($stream) => $call,
        }
    };
}

impl AsyncRead for Transport {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        carry!(self, stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        carry!(self, stream => Pin::new(stream).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        carry!(self, stream => Pin::new(stream).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        carry!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        carry!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}

impl Transport {
    /// Whether it is without TLS.
    pub(crate) fn is_plain(&self) -> bool {
        matches!(self, Self::Plain(_))
    }

    /// Whether it is without TLS, and the client has sent nothing that was not read.
    pub(crate) fn is_plain_and_silent(&self) -> bool {
        match self {
            Self::Plain(socket) => is_silent(socket),
            Self::Tls(_) => false,
        }
    }

    /// How many bytes the client has not taken of what was sent.
    pub(crate) fn unsent(&self) -> usize {
        match self {
            Self::Plain(socket) => chassis::net::unsent(socket.as_fd()),
            Self::Tls(stream) => chassis::net::unsent(stream.as_fd()),
        }
    }

    /// What Pingora wants to know of the socket.
    pub(crate) fn socket_digest(&self, connected: &Connected) -> Arc<SocketDigest> {
        let socket = match self {
            Self::Plain(socket) => socket.as_fd(),
            Self::Tls(stream) => stream.as_fd(),
        };
        socket_digest(&socket, connected.client.address, connected.local)
    }

    /// Makes the coming close a reset, which no client takes for the end of an answer.
    pub(crate) fn reset_on_close(&self) {
        match self {
            Self::Plain(socket) => reset(socket.as_fd()),
            Self::Tls(stream) => reset(stream.as_fd()),
        }
    }
}

/// The same for a stream as Pingora knows it. It also frees what the kernel still holds for a
/// client that takes nothing, and would hold for minutes.
pub(crate) fn reset_on_close(stream: &Stream) {
    let any = (**stream).as_any();
    if let Some(tls) = any.downcast_ref::<TlsStream>() {
        reset(tls.as_fd());
    } else if let Some(plain) = any.downcast_ref::<Connection>() {
        reset(plain.as_fd());
    }
}

fn reset(socket: BorrowedFd<'_>) {
    let _ = set_socket_linger(socket, Some(Duration::ZERO));
}
