//! A client's connection until its first request: PROXY header, TLS, then HTTP/1.1 or HTTP/2.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use pingora_core::protocols::Stream;
use plugins::Client;
use tokio::io::AsyncReadExt;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::connected::Connected;
use super::connection::Connection;
use super::proxy_header::{self, Refused};
use super::socket::Socket;
use super::tls;
use super::transport::Transport;
use crate::config::ProxyHeader;
use crate::h1;
use crate::h2::{Http2, PREFACE};
use crate::proxy::Proxies;
use crate::refusal::Refusal;
use crate::state::{ListenerState, Timeouts};

/// A connection that was accepted.
pub(super) struct Accepted {
    pub(super) socket: Socket,
    /// None on a Unix socket, as is `local`.
    pub(super) peer: Option<SocketAddr>,
    pub(super) local: Option<SocketAddr>,
    pub(super) listener: Arc<ListenerState>,
    /// True once the listener is closed.
    pub(super) closing: watch::Receiver<bool>,
}

/// A connection on which requests can come.
enum Opened {
    Http1(Box<h1::Connection>),
    Http2(Stream),
}

impl Accepted {
    /// Serves it until it ends.
    pub(super) async fn serve(self, proxies: Arc<Proxies>) {
        if self.begins_with_a_request() {
            return h1::serve(Box::new(self.http1()), &proxies).await;
        }
        let (listener, closed) = (self.listener.clone(), self.closing.clone());
        // In boxes of their own: an idle connection of HTTP/1 is to need the room of nothing else.
        match Box::pin(self.open()).await {
            None => {}
            Some(Opened::Http1(connection)) => h1::serve(connection, &proxies).await,
            Some(Opened::Http2(stream)) => {
                let http2 = Http2 {
                    listener,
                    proxies,
                    closed,
                };
                Box::pin(http2.serve(stream)).await;
            }
        }
    }

    /// Whether nothing can come before the first request of HTTP/1.
    fn begins_with_a_request(&self) -> bool {
        let listener = &self.listener;
        listener.proxy_header == ProxyHeader::Off && listener.tls.is_none() && !listener.h2c
    }

    /// The connection of [`begins_with_a_request`](Self::begins_with_a_request).
    fn http1(self) -> h1::Connection {
        let connected = Connected::new(self.client(), self.listener, self.local);
        h1::Connection::new(Transport::Plain(self.socket), connected, self.closing)
    }

    /// What is known of the client before it has sent anything.
    fn client(&self) -> Client {
        Client {
            address: self.peer,
            listener: self.listener.name.clone(),
            tls: self.listener.tls.is_some(),
            session: None,
        }
    }

    /// Reads what comes before the first request; none when the connection has ended.
    async fn open(mut self) -> Option<Opened> {
        let mut client = self.client();
        let mut ahead = Vec::new();
        let header = proxy_header::read(
            &mut self.socket,
            &self.listener,
            &mut client,
            &mut self.local,
            &mut ahead,
        );
        let header = match tokio::time::timeout(self.listener.timeouts.handshake, header).await {
            Ok(header) => header,
            Err(_) => Err(Refused::For(Refusal::ProxyHeader)),
        };
        match header {
            Ok(()) => {}
            Err(Refused::For(refusal)) => {
                self.listener.refusals.count(refusal, self.peer);
                return None;
            }
            Err(Refused::Gone) => return None,
        }
        let connected = Connected::new(client, self.listener.clone(), self.local);
        match self.listener.tls.is_some() {
            true => self.open_tls(connected, ahead).await,
            false => self.open_plain(connected, ahead).await,
        }
    }

    async fn open_tls(self, connected: Connected, ahead: Vec<u8>) -> Option<Opened> {
        let Self {
            socket,
            peer,
            local,
            listener,
            closing,
        } = self;
        let terminator = listener.tls.as_ref()?;
        let mut connection = Connection::new(socket, peer, local);
        connection.begin_with(ahead);
        let (stream, connected) = tls::handshake(connection, connected, terminator, peer).await?;
        let h2 = stream.speaks_h2();
        if h2 {
            return Some(Opened::Http2(Box::new(stream.connected(connected))));
        }
        let transport = Transport::Tls(Box::new(stream));
        let connection = h1::Connection::new(transport, connected, closing);
        Some(Opened::Http1(Box::new(connection)))
    }

    async fn open_plain(self, connected: Connected, mut ahead: Vec<u8>) -> Option<Opened> {
        let Self {
            mut socket,
            peer,
            local,
            listener,
            closing,
        } = self;
        if listener.h2c {
            match is_preface(&mut socket, &mut ahead, &listener.timeouts).await {
                Ok(true) => {
                    let connection = Connection::new(socket, peer, local);
                    let mut connection = connection.connected(connected);
                    connection.begin_with(ahead);
                    return Some(Opened::Http2(Box::new(connection)));
                }
                Ok(false) => {}
                Err(_) if ahead.is_empty() => return None,
                Err(error) => {
                    if error.kind() == io::ErrorKind::TimedOut {
                        listener.refusals.count(Refusal::SlowHead, peer);
                    }
                    return None;
                }
            }
        }
        let transport = Transport::Plain(socket);
        let mut connection = h1::Connection::new(transport, connected, closing);
        connection.begin_with(&ahead);
        Some(Opened::Http1(Box::new(connection)))
    }
}

/// Whether the client begins as HTTP/2 does; what was read for that is in `ahead`.
async fn is_preface(
    stream: &mut Socket,
    ahead: &mut Vec<u8>,
    timeouts: &Timeouts,
) -> io::Result<bool> {
    let mut due = Instant::now()
        + match ahead.is_empty() {
            true => timeouts.idle,
            false => timeouts.head,
        };
    loop {
        if ahead.starts_with(&PREFACE[..]) {
            return Ok(true);
        }
        if !PREFACE.starts_with(ahead) {
            return Ok(false);
        }
        let mut rest = [0; PREFACE.len()];
        let wanted = PREFACE.len() - ahead.len();
        let first = ahead.is_empty();
        match timeout_at(due, stream.read(&mut rest[..wanted])).await?? {
            0 => return Ok(false),
            count => ahead.extend_from_slice(&rest[..count]),
        }
        if first {
            due = Instant::now() + timeouts.head;
        }
    }
}
