//! What a connection begins with: a PROXY header, and the name that it is for.

use std::io;
use std::net::SocketAddr;

use chassis::net::proxy_protocol::{Origin, Parsing, ProxyHeader, Refusal, parse};
use tokio::net::TcpStream;

use super::Ending;
use crate::sniff::{Head, Hello, HelloReader, LONGEST_HEAD, LONGEST_HELLO, ServerName, host};
use crate::state::ListenerState;

/// The beginning of a connection, read ahead.
#[derive(Debug, Default)]
pub(super) struct FirstBytes {
    bytes: Vec<u8>,
}

/// As much is read ahead: what is parsed is shorter, and the rest stays with the kernel.
const MOST: usize = if LONGEST_HELLO > LONGEST_HEAD {
    LONGEST_HELLO + 4096
} else {
    LONGEST_HEAD + 4096
};

impl FirstBytes {
    /// What was read and not taken.
    pub(super) fn into_rest(self) -> Vec<u8> {
        self.bytes
    }

    /// Who the client is, and what it connected to, by a PROXY header where the listener expects one of this peer.
    ///
    /// # Errors
    /// When it is missing or wrong.
    pub(super) async fn origin(
        &mut self,
        stream: &TcpStream,
        listener: &ListenerState,
        peer: SocketAddr,
    ) -> Result<Option<(SocketAddr, SocketAddr)>, Ending> {
        let required = match (listener.proxy_header, listener.trusts(peer.ip())) {
            (ProxyHeader::Off, _) | (ProxyHeader::Optional, false) => return Ok(None),
            (ProxyHeader::Required, false) => return Err(Ending::ProxyHeader),
            (ProxyHeader::Required, true) => true,
            (ProxyHeader::Optional, true) => false,
        };
        loop {
            if !self.bytes.is_empty() {
                match parse(&self.bytes) {
                    Parsing::Parsed { header, length } => {
                        self.bytes.drain(..length);
                        return Ok(match header.origin {
                            Origin::Inet {
                                source,
                                destination,
                                ..
                            } => Some((source, destination)),
                            // The balancer itself asks, or does not say for whom.
                            Origin::Local | Origin::Unknown | Origin::Unix { .. } => None,
                        });
                    }
                    Parsing::Incomplete { .. } => {}
                    Parsing::Refused(Refusal::NoHeader) if !required => return Ok(None),
                    Parsing::Refused(_) => return Err(Ending::ProxyHeader),
                }
            }
            if !self.more(stream).await? {
                return Err(Ending::ProxyHeader);
            }
        }
    }

    /// The name that the connection is for; none when it has none.
    ///
    /// # Errors
    /// When what it begins with is wrong, too long, or ends before.
    pub(super) async fn name(&mut self, stream: &TcpStream) -> Result<Option<ServerName>, Ending> {
        while self.bytes.is_empty() {
            if !self.more(stream).await? {
                return Err(Ending::Left);
            }
        }
        match self.bytes[0] {
            HANDSHAKE => self.server_name(stream).await,
            _ => self.host(stream).await,
        }
    }

    async fn server_name(&mut self, stream: &TcpStream) -> Result<Option<ServerName>, Ending> {
        let mut reader = HelloReader::default();
        loop {
            match reader.read(&self.bytes) {
                Hello::Partial => {}
                Hello::Whole(hello) => return Ok(hello.name),
                Hello::NotTls => return Ok(None),
                Hello::Broken(_) => return Err(Ending::Malformed),
            }
            if !self.more(stream).await? {
                return Err(Ending::Left);
            }
        }
    }

    async fn host(&mut self, stream: &TcpStream) -> Result<Option<ServerName>, Ending> {
        let mut seen = 0;
        loop {
            match host(&self.bytes, seen) {
                Head::Partial => seen = self.bytes.len(),
                Head::Whole(name) => return Ok(name),
                Head::Http2 | Head::NotHttp => return Ok(None),
                Head::TooLong => return Err(Ending::TooLong),
            }
            if !self.more(stream).await? {
                return Err(Ending::Left);
            }
        }
    }

    /// Reads what has arrived, or waits for it; false at the end.
    async fn more(&mut self, stream: &TcpStream) -> Result<bool, Ending> {
        if self.bytes.len() >= MOST {
            return Err(Ending::TooLong);
        }
        loop {
            stream.readable().await.map_err(|_| Ending::ClientBroke)?;
            self.bytes.reserve(CHUNK.min(MOST - self.bytes.len()));
            match stream.try_read_buf(&mut self.bytes) {
                Ok(count) => return Ok(count > 0),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return Err(Ending::ClientBroke),
            }
        }
    }
}

/// A record of a TLS handshake (RFC 8446, 5.1).
const HANDSHAKE: u8 = 22;
/// Most beginnings are shorter.
const CHUNK: usize = 2048;
