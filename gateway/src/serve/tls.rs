//! The TLS handshake of a connection, in its time, and what a client is told when there is none.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use chassis::problem::Problem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::connected::Connected;
use super::connection::Connection;
use super::tls_stream::TlsStream;
use crate::state::ListenerState;
use crate::tls::{Failure, Outcome, Reason, Terminator};

/// Does the handshake; none when it failed, which is counted and told to the log and the client.
pub(super) async fn handshake(
    connection: Connection,
    mut connected: Connected,
    terminator: &Terminator,
    peer: Option<SocketAddr>,
) -> Option<(TlsStream, Connected)> {
    let listener = connected.listener.clone();
    // It holds the connection until this function ends: a client that sees its end finds it counted.
    let mut attempt = pin!(attempt(connection, terminator));
    let failure = match timeout(listener.timeouts.handshake, &mut attempt).await {
        Ok(Ok((stream, session))) => {
            terminator.handshakes.done(session.resumed);
            connected.client.session = Some(Arc::new(session));
            return Some((TlsStream::new(stream), connected));
        }
        Ok(Err(failure)) => failure,
        Err(_) => Failure {
            reason: Reason::of(Outcome::Slow),
            io: None,
        },
    };
    let client = connected.client.address.or(peer);
    terminator.handshakes.failed(&failure.reason, client);
    if let Some(connection) = failure.io {
        take_leave(connection, &listener).await;
    }
    None
}

type Shaken = (
    tokio_rustls::server::TlsStream<Connection>,
    plugins::TlsSession,
);

async fn attempt(
    mut connection: Connection,
    terminator: &Terminator,
) -> Result<Shaken, Failure<Connection>> {
    match connection.first().await {
        Ok(Some(first)) if first.is_ascii_uppercase() => {
            // No record begins with a letter, but every method does.
            let _ = connection.write_all(&plain_http()).await;
            let reason = Reason::of(Outcome::NotTls);
            let io = Some(connection);
            Err(Failure { reason, io })
        }
        Ok(Some(_)) => terminator.handshake(connection).await,
        Ok(None) | Err(_) => Err(Failure {
            reason: Reason::of(Outcome::Gone),
            io: None,
        }),
    }
}

/// The answer to plain HTTP.
fn plain_http() -> Vec<u8> {
    let problem = Problem::new(400, "tls-needed", "This port speaks TLS: ask with https");
    let body = problem.to_json();
    let mut answer = format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    )
    .into_bytes();
    answer.extend(body);
    answer
}

/// Ends the connection so that the client can read why: an end in our direction, and what still
/// comes is read and dropped for a while, since a reset would take the alert away with it.
async fn take_leave(mut connection: Connection, listener: &ListenerState) {
    let patience: Duration = listener.timeouts.linger;
    let leave = async {
        if connection.shutdown().await.is_err() {
            return;
        }
        let mut dropped = 0;
        let mut piece = [0; 512];
        while dropped < LINGER_BYTES {
            match connection.read(&mut piece).await {
                Ok(0) | Err(_) => return,
                Ok(count) => dropped += count,
            }
        }
    };
    let _ = timeout(patience, leave).await;
}

/// How much is read from a client that was refused.
const LINGER_BYTES: usize = 64 << 10;
