//! Connected sockets and the queues that they come from, TCP and Unix alike.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::pin::Pin;
use std::task::{Context, Poll};

use chassis::net::Listener;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

/// A client's connection.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: Stream,
    /// It took nothing when it was last tried: the runtime says when it does again.
    blocked: bool,
}

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// Connections that wait to be accepted.
#[derive(Debug)]
pub(super) enum Queue {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// Does the same with either kind.
macro_rules! either {
    ($kind:ident, $value:expr, $inner:ident => $result:expr) => {
        match $value {
            $kind::Tcp($inner) => $result,
            $kind::Unix($inner) => $result,
        }
    };
}

impl Queue {
    pub(super) fn new(listener: Listener) -> io::Result<Self> {
        Ok(match listener {
            Listener::Tcp(listener) => Self::Tcp(TcpListener::from_std(listener)?),
            Listener::Unix(listener) => Self::Unix(UnixListener::from_std(listener)?),
        })
    }

    /// Waits for the next connection; a Unix socket's peer has no address.
    pub(super) async fn accept(&self) -> io::Result<(Socket, Option<SocketAddr>)> {
        match self {
            Self::Tcp(queue) => {
                let (stream, peer) = queue.accept().await?;
                Ok((Socket::from(stream), Some(canonical(peer))))
            }
            Self::Unix(queue) => Ok((Socket::from(queue.accept().await?.0), None)),
        }
    }

    /// The connections that wait now; then the queue is closed.
    pub(super) fn rest(self) -> io::Result<Vec<(Socket, Option<SocketAddr>)>> {
        // Straight from the kernel: the runtime may not know yet that they are there.
        let mut rest = Vec::new();
        match self {
            Self::Tcp(queue) => {
                let queue = queue.into_std()?;
                while let Ok((stream, peer)) = queue.accept() {
                    stream.set_nonblocking(true)?;
                    let stream = TcpStream::from_std(stream)?;
                    rest.push((stream.into(), Some(canonical(peer))));
                }
            }
            Self::Unix(queue) => {
                let queue = queue.into_std()?;
                while let Ok((stream, _)) = queue.accept() {
                    stream.set_nonblocking(true)?;
                    rest.push((UnixStream::from_std(stream)?.into(), None));
                }
            }
        }
        Ok(rest)
    }
}

/// A dual-stack socket shows IPv4 addresses as `::ffff:a.b.c.d`; nobody else should.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

impl Socket {
    /// What the client has connected to; none on a Unix socket.
    pub(super) fn local(&self) -> Option<SocketAddr> {
        match &self.stream {
            Stream::Tcp(stream) => stream.local_addr().ok().map(canonical),
            Stream::Unix(_) => None,
        }
    }
}

impl From<TcpStream> for Socket {
    fn from(stream: TcpStream) -> Self {
        Self {
            stream: Stream::Tcp(stream),
            blocked: false,
        }
    }
}

impl From<UnixStream> for Socket {
    fn from(stream: UnixStream) -> Self {
        Self {
            stream: Stream::Unix(stream),
            blocked: false,
        }
    }
}

/// Sends few bytes at once; none when the socket takes nothing. There is nearly always room for them,
/// and this way nobody has to ask the runtime first.
pub(crate) fn send_now(socket: &impl AsFd, bytes: &[u8]) -> Option<io::Result<usize>> {
    if bytes.len() > FEW {
        return None;
    }
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    match rustix::net::send(socket, bytes, flags) {
        Err(Errno::WOULDBLOCK | Errno::INTR) => None,
        sent => Some(sent.map_err(io::Error::from)),
    }
}

/// Whether a peer that has no more to say has sent nothing all the same. An end is nothing.
pub(crate) fn is_silent(socket: &impl AsFd) -> bool {
    let flags = RecvFlags::DONTWAIT | RecvFlags::PEEK;
    matches!(
        rustix::net::recv(socket, &mut [0], flags),
        Ok((_, 0)) | Err(Errno::WOULDBLOCK)
    )
}

/// More than this may well be more than there is room for.
const FEW: usize = 16 << 10;

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        either!(Stream, &mut self.get_mut().stream, stream => Pin::new(stream).poll_read(cx, buffer))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if !this.blocked
            && let Some(sent) = send_now(&*this, bytes)
        {
            return Poll::Ready(sent);
        }
        let polled =
            either!(Stream, &mut this.stream, stream => Pin::new(stream).poll_write(cx, bytes));
        this.blocked = polled.is_pending();
        polled
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = either!(Stream, &mut this.stream, stream => Pin::new(stream).poll_write_vectored(cx, parts));
        this.blocked = polled.is_pending();
        polled
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(Stream, &mut self.get_mut().stream, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(Stream, &mut self.get_mut().stream, stream => Pin::new(stream).poll_shutdown(cx))
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        either!(Stream, &self.stream, stream => stream.as_fd())
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        either!(Stream, &self.stream, stream => stream.as_raw_fd())
    }
}
