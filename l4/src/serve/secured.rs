//! TLS that ends here.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use chassis::net::proxy_protocol::{Ssl, Tlvs};
use chassis::tls::Terminator;
use rustls::ProtocolVersion;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;

use super::Ending;

/// A client's connection whose first bytes were read ahead.
pub(super) struct Ahead<'a> {
    early: Vec<u8>,
    taken: usize,
    stream: &'a mut TcpStream,
}

/// A client's connection over TLS.
pub(super) type Secured<'a> = Box<TlsStream<Ahead<'a>>>;

/// Does the handshake.
///
/// # Errors
/// [`Ending::Handshake`] when there is none; the client was told why, as far as it listens.
pub(super) async fn secure<'a>(
    terminator: &Terminator,
    stream: &'a mut TcpStream,
    early: Vec<u8>,
    client: SocketAddr,
    patience: Duration,
) -> Result<Secured<'a>, Ending> {
    let ahead = Ahead {
        early,
        taken: 0,
        stream,
    };
    match terminator.handshake(ahead, client, patience).await {
        Ok(secured) => Ok(Box::new(secured)),
        Err(None) => Err(Ending::Slow),
        Err(Some(mut ahead)) => {
            take_leave(&mut ahead).await;
            Err(Ending::Handshake)
        }
    }
}

/// Ends a connection so that the client reads the alert: what arrives for a closed socket is answered with a reset, which
/// overtakes it.
async fn take_leave(stream: &mut Ahead<'_>) {
    let leave = async {
        if stream.shutdown().await.is_err() {
            return;
        }
        let mut dropped = [0; 4096];
        while matches!(stream.read(&mut dropped).await, Ok(1..)) {}
    };
    let _ = timeout(LINGER, leave).await;
}

/// For the client to close its side.
const LINGER: Duration = Duration::from_millis(500);

/// The name that the client has asked for in the handshake.
pub(super) fn name<'a>(secured: &'a Secured<'_>) -> Option<&'a str> {
    secured.get_ref().1.server_name()
}

/// What an endpoint is told of the client's TLS.
pub(super) fn describe(secured: &Secured<'_>, tlvs: &mut Tlvs) {
    let session = secured.get_ref().1;
    tlvs.alpn = session.alpn_protocol().map(<[u8]>::to_vec);
    let version = match session.protocol_version() {
        Some(ProtocolVersion::TLSv1_2) => Some("TLSv1.2".to_owned()),
        Some(ProtocolVersion::TLSv1_3) => Some("TLSv1.3".to_owned()),
        _ => None,
    };
    let suite = session.negotiated_cipher_suite();
    // By the names of IANA: rustls writes `TLS13_AES_128_GCM_SHA256`.
    let cipher = suite.and_then(|suite| suite.suite().as_str());
    let cipher = cipher.map(|name| name.replacen("TLS13_", "TLS_", 1));
    tlvs.ssl = Some(Box::new(Ssl {
        tls: true,
        version,
        cipher,
        ..Ssl::default()
    }));
}

impl AsRef<TcpStream> for Ahead<'_> {
    fn as_ref(&self) -> &TcpStream {
        self.stream
    }
}

impl AsyncRead for Ahead<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let rest = &self.early[self.taken..];
        if rest.is_empty() {
            return Pin::new(&mut *self.stream).poll_read(context, into);
        }
        let count = rest.len().min(into.remaining());
        into.put_slice(&rest[..count]);
        self.taken += count;
        if self.taken == self.early.len() {
            self.early = Vec::new();
            self.taken = 0;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Ahead<'_> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream).poll_shutdown(context)
    }
}
