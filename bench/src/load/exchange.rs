//! One connection of HTTP/1.1: a request out, an answer in.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};

use rustls::HandshakeKind;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::tls::NAME;
use super::{Head, Target};

/// What the head of an answer says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Answer {
    /// Its status.
    pub(crate) status: u16,
    /// Whether the connection ends with it.
    pub(crate) closes: bool,
    /// How long head and body are.
    head: usize,
    body: usize,
}

/// A connection to a proxy.
pub(crate) struct Connection {
    stream: Stream,
    buffer: Vec<u8>,
}

impl Connection {
    /// Connects, with the TLS handshake if there is one.
    pub(crate) async fn open(target: &Target) -> io::Result<Self> {
        let tcp = connect(target.address).await?;
        let stream = match &target.tls {
            None => Stream::Plain(tcp),
            Some(client) => {
                let name = ServerName::try_from(NAME).map_err(io::Error::other)?;
                let connector = TlsConnector::from(client.config.clone());
                Stream::Tls(Box::new(connector.connect(name, tcp).await?))
            }
        };
        let buffer = vec![0; 4 << 10];
        Ok(Self { stream, buffer })
    }

    /// What is under HTTP.
    pub(crate) fn into_stream(self) -> Stream {
        self.stream
    }

    /// Whether the handshake went on with an earlier session.
    pub(crate) fn is_resumed(&self) -> bool {
        let Stream::Tls(stream) = &self.stream else {
            return false;
        };
        stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// Sends a request and reads the whole answer, which must say how long it is.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> io::Result<Answer> {
        self.exchange_seeing(request, |_| ()).await
    }

    /// The same, with a look at each piece of the body.
    pub(crate) async fn exchange_seeing(
        &mut self,
        request: &[u8],
        mut see: impl FnMut(&[u8]),
    ) -> io::Result<Answer> {
        self.stream.write_all(request).await?;
        self.stream.flush().await?;
        let (answer, mut filled) = self.head().await?;
        see(&self.buffer[answer.head..filled]);
        let missing = (answer.head + answer.body).checked_sub(filled);
        let mut missing = missing.ok_or_else(|| io::Error::other("the body is too long"))?;
        if missing > self.buffer.len() {
            self.buffer.resize(64 << 10, 0);
        }
        while missing > 0 {
            let most = missing.min(self.buffer.len());
            filled = self.stream.read(&mut self.buffer[..most]).await?;
            if filled == 0 {
                return Err(io::Error::other("closed within a body"));
            }
            see(&self.buffer[..filled]);
            missing -= filled;
        }
        Ok(answer)
    }

    /// Reads until a head is there; also says how many bytes the buffer has.
    async fn head(&mut self) -> io::Result<(Answer, usize)> {
        let mut filled = 0;
        loop {
            match self.stream.read(&mut self.buffer[filled..]).await? {
                0 => return Err(io::Error::other("closed without an answer")),
                count => filled += count,
            }
            let Some(head) = Head::parse(&self.buffer[..filled]) else {
                continue;
            };
            let status = head.status();
            let body = head.content_length().or((status == 101).then_some(0));
            let answer = Answer {
                status,
                closes: head.header(b"connection") == Some(b"close"),
                head: head.length,
                body: body.ok_or_else(|| io::Error::other("no content-length"))?,
            };
            return Ok((answer, filled));
        }
    }

    /// Sends bytes and reads as many back.
    pub(crate) async fn echo(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream
            .read_exact(&mut self.buffer[..bytes.len()])
            .await?;
        Ok(())
    }

    /// Waits for the proxy to close.
    pub(crate) async fn closed(&mut self) -> io::Result<()> {
        while self.stream.read(&mut self.buffer).await? > 0 {}
        Ok(())
    }
}

/// Connects from one of 200 addresses in turn: connections that have ended hold their port for a
/// minute, and one address has 28,000.
async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let last = u8::try_from(NEXT.fetch_add(1, Ordering::Relaxed) % 200).unwrap_or(0);
    let socket = TcpSocket::new_v4()?;
    socket.bind((Ipv4Addr::new(127, 0, 1, last + 1), 0).into())?;
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// With or without TLS.
pub(crate) enum Stream {
    /// Without.
    Plain(TcpStream),
    /// With.
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, into),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, into),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
