//! What carries a client's bytes: a plain socket, or TLS over it.

use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use pingora_core::protocols::Stream;
use rustix::net::sockopt::set_socket_linger;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::socket::Socket;

/// A client's byte stream.
#[derive(Debug)]
pub(crate) enum Transport {
    /// Without TLS.
    Plain(Socket),
    /// With TLS.
    Tls(Stream),
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
    /// Makes the coming close a reset, which no client takes for the end of an answer.
    pub(crate) fn reset_on_close(&self) {
        let fd = match self {
            Self::Plain(stream) => stream.as_fd(),
            Self::Tls(_) => return, // the missing close_notify tells
        };
        let _ = set_socket_linger(fd, Some(Duration::ZERO));
    }
}
