//! A client's connection, as Pingora wants one.
//!
//! Writes are gathered until a flush, so that a head and a small body leave in
//! one system call; the buffer exists only while something is in it, so an
//! idle connection costs little.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::SystemTime;

use async_trait::async_trait;
use pingora_core::protocols::l4::socket::SocketAddr as PingoraAddr;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    TimingDigest, UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::connected::Connected;
use super::socket::Socket;

/// A client's connection.
#[derive(Debug)]
pub(super) struct Connection {
    stream: Socket,
    /// Bytes that were read ahead and are to be read again.
    ahead: Vec<u8>,
    pending: Vec<u8>,
    written: usize,
    digest: Option<Arc<SocketDigest>>,
    established: SystemTime,
    connected: Option<Arc<ProxyDigest>>,
}

/// More than this is written at once.
const GATHER: usize = 16 * 1024;

impl Connection {
    /// A connection from `peer` to the listener bound to `local`; a Unix socket has neither.
    pub(super) fn new(stream: Socket, peer: Option<SocketAddr>, local: Option<SocketAddr>) -> Self {
        Self {
            digest: Some(socket_digest(&stream, peer, local)),
            stream,
            ahead: Vec::new(),
            pending: Vec::new(),
            written: 0,
            established: SystemTime::now(),
            connected: None,
        }
    }

    /// Adds what is known of the client.
    pub(super) fn connected(mut self, connected: Connected) -> Self {
        self.connected = connected.into_digest();
        self
    }

    /// Puts bytes that were read already before all others.
    pub(super) fn begin_with(&mut self, bytes: Vec<u8>) {
        self.ahead = bytes;
    }

    /// The first byte that comes, which is read again; none at the end. What comes with it is read
    /// at once, so that this costs no system call.
    pub(super) async fn first(&mut self) -> io::Result<Option<u8>> {
        if self.ahead.is_empty() {
            let Self { stream, ahead, .. } = self;
            poll_fn(|cx| {
                // Here, and not in the future, which lives as long as the connection.
                let mut piece = [MaybeUninit::uninit(); 2048];
                let mut piece = ReadBuf::uninit(&mut piece);
                ready!(Pin::new(&mut *stream).poll_read(cx, &mut piece))?;
                ahead.extend_from_slice(piece.filled());
                Poll::Ready(io::Result::Ok(()))
            })
            .await?;
        }
        Ok(self.ahead.first().copied())
    }

    fn poll_pending(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.pending.len() {
            let rest = &self.pending[self.written..];
            match ready!(Pin::new(&mut self.stream).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.written += count,
            }
        }
        self.pending = Vec::new();
        self.written = 0;
        Poll::Ready(Ok(()))
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

pub(super) fn socket_digest(
    stream: &impl AsRawFd,
    peer: Option<SocketAddr>,
    local: Option<SocketAddr>,
) -> Arc<SocketDigest> {
    let socket = SocketDigest::from_raw_fd(stream.as_raw_fd());
    // Known already: this saves two system calls.
    let _ = socket.peer_addr.set(peer.map(PingoraAddr::Inet));
    let _ = socket.local_addr.set(local.map(PingoraAddr::Inet));
    Arc::new(socket)
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.ahead.is_empty() {
            let count = self.ahead.len().min(buf.remaining());
            buf.put_slice(&self.ahead[..count]);
            self.ahead.drain(..count);
            if self.ahead.is_empty() {
                self.ahead = Vec::new();
            }
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.pending.len() + buf.len() > GATHER {
            ready!(self.poll_pending(cx))?;
            if buf.len() > GATHER {
                return Pin::new(&mut self.stream).poll_write(cx, buf);
            }
        }
        self.pending.extend_from_slice(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_pending(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_pending(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[async_trait]
impl Peek for Connection {
    async fn try_peek(&mut self, buf: &mut [u8]) -> io::Result<bool> {
        self.read_exact(buf).await?;
        self.ahead.splice(..0, buf.iter().copied());
        Ok(true)
    }
}

#[async_trait]
impl Shutdown for Connection {
    async fn shutdown(&mut self) {
        let _ = AsyncWriteExt::shutdown(self).await;
    }
}

impl UniqueID for Connection {
    fn id(&self) -> UniqueIDType {
        self.stream.as_raw_fd()
    }
}

impl Ssl for Connection {}

impl GetTimingDigest for Connection {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        vec![Some(TimingDigest {
            established_ts: self.established,
            establishment_duration: None,
            offload_wait_duration: None,
        })]
    }
}

impl GetProxyDigest for Connection {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.connected.clone()
    }
}

impl GetSocketDigest for Connection {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.digest.clone()
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;

    use super::*;

    async fn pair() -> (Connection, TcpStream) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let local = listener.local_addr().unwrap();
        let client = TcpStream::connect(local).await.unwrap();
        let (stream, peer) = listener.accept().await.unwrap();
        let client_of = plugins::Client {
            address: Some(peer),
            listener: "test".into(),
            tls: false,
            session: None,
        };
        let listener = crate::state::ListenerState::for_tests();
        let connected = Connected::new(client_of, listener, None);
        (
            Connection::new(stream.into(), Some(peer), Some(local)).connected(connected),
            client,
        )
    }

    #[tokio::test]
    async fn small_writes_wait_for_the_flush_and_large_ones_do_not() {
        let (mut connection, mut client) = pair().await;
        connection.write_all(b"head ").await.unwrap();
        connection.write_all(b"body").await.unwrap();
        let mut buffer = vec![0; 64];
        assert!(
            client.try_read(&mut buffer).is_err(),
            "nothing was sent yet"
        );
        connection.flush().await.unwrap();
        let count = client.read(&mut buffer).await.unwrap();
        assert_eq!(&buffer[..count], b"head body");
        assert_eq!(
            connection.pending.capacity(),
            0,
            "an idle connection holds no buffer"
        );

        let large = vec![7; 1 << 20];
        let reader = tokio::spawn(async move {
            let mut all = vec![0; 1 << 20];
            client.read_exact(&mut all).await.unwrap();
            all
        });
        connection.write_all(&large).await.unwrap();
        connection.flush().await.unwrap();
        assert_eq!(reader.await.unwrap(), large);
    }

    #[tokio::test]
    async fn peeked_bytes_are_read_again() {
        let (mut connection, mut client) = pair().await;
        client.write_all(b"abcdef").await.unwrap();
        let mut peeked = [0; 3];
        assert!(connection.try_peek(&mut peeked).await.unwrap());
        let mut all = [0; 6];
        connection.read_exact(&mut all).await.unwrap();
        assert_eq!(&all, b"abcdef");
    }
}
