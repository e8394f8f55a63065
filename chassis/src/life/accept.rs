//! The admin listener's accept loop, which can be closed without a request being lost.
//!
//! `axum`'s own graceful shutdown ends a connection that was accepted and has sent nothing yet,
//! although its request may be on the way.

use std::future::{Future, pending};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Sleep, sleep};

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

/// So long the head of the first request may take: whoever is silent takes the place of another.
const HEAD: Duration = Duration::from_secs(2);

/// A connection; whoever holds `open` can count them.
pub(super) struct Counted {
    stream: TcpStream,
    /// When the first head is to have come; none once it has.
    due: Option<Pin<Box<Sleep>>>,
    /// Ends of lines in a row, while it has not: two end a head.
    ends: u8,
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
                let due = Some(Box::pin(sleep(HEAD)));
                let counted = Counted {
                    stream,
                    due,
                    ends: 0,
                    _open,
                };
                (counted, peer)
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
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buffer);
        let Some(due) = &mut this.due else {
            return read;
        };
        if read.is_pending() {
            let late = due.as_mut().poll(cx);
            return late.map(|()| Err(ErrorKind::TimedOut.into()));
        }
        for byte in &buffer.filled()[before..] {
            this.ends = match byte {
                b'\n' => this.ends + 1,
                b'\r' => this.ends,
                _ => 0,
            };
            if this.ends == 2 {
                this.due = None;
                break;
            }
        }
        read
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
