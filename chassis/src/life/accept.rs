//! The admin listener's accept loop, which can be closed without a request being lost.
//!
//! `axum`'s own graceful shutdown ends a connection that was accepted and has sent nothing yet,
//! although its request may be on the way.

use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Accepts until it is closed.
pub(super) struct Accept {
    /// None once it is closed.
    listener: Option<TcpListener>,
    address: SocketAddr,
    closed: watch::Receiver<bool>,
    open: Arc<()>,
}

/// So many connections are served at a time; another is closed at once.
const MOST: usize = 256;

/// A connection; whoever holds `open` can count them.
pub(super) struct Counted {
    stream: TcpStream,
    _open: Arc<()>,
}

impl Accept {
    pub(super) fn new(
        listener: TcpListener,
        closed: watch::Receiver<bool>,
        open: Arc<()>,
    ) -> io::Result<Self> {
        Ok(Self {
            address: listener.local_addr()?,
            listener: Some(listener),
            closed,
            open,
        })
    }
}

impl axum::serve::Listener for Accept {
    type Io = Counted;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Counted, SocketAddr) {
        let Some(listener) = &mut self.listener else {
            return pending().await;
        };
        let closed = async {
            // Without anybody who could close it, it is open.
            if self.closed.wait_for(|closed| *closed).await.is_err() {
                pending().await
            }
        };
        let accept = async {
            loop {
                let accepted = axum::serve::Listener::accept(listener).await;
                if Arc::strong_count(&self.open) <= MOST {
                    return accepted;
                }
            }
        };
        let accepted = tokio::select! {
            biased;
            () = closed => None,
            accepted = accept => Some(accepted),
        };
        match accepted {
            Some((stream, peer)) => {
                let _open = self.open.clone();
                (Counted { stream, _open }, peer)
            }
            None => {
                self.listener = None;
                pending().await
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
