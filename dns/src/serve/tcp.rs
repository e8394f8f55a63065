//! Queries over a stream (RFC 7766; over TLS, RFC 7858): each with its length in front, many over one connection.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use super::Shared;
use super::leave::take_leave;
use super::respond::{Answer, Asking, respond};
use crate::config::TcpLimitsConfig;
use crate::transfer::{Outcome, Transfer};

/// What a connection may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TcpLimits {
    pub(crate) connections: u32,
    pub(crate) connections_per_client: u32,
    pub(crate) idle: Duration,
    pub(crate) progress: Duration,
    pub(crate) queries: u32,
}

impl From<&TcpLimitsConfig> for TcpLimits {
    fn from(config: &TcpLimitsConfig) -> Self {
        Self {
            connections: *config.connections,
            connections_per_client: *config.connections_per_client,
            idle: **config.idle,
            progress: **config.progress,
            queries: *config.queries,
        }
    }
}

impl Default for TcpLimits {
    fn default() -> Self {
        Self::from(&TcpLimitsConfig::default())
    }
}

/// So much is read at once.
const CHUNK: usize = 4096;
/// Answers are sent when there are so many octets of them, or no whole query is left.
const FLUSH: usize = 64 * 1024;
/// A connection whose listener was closed goes on for so long at most, while queries come.
pub(super) const LEAVE: Duration = Duration::from_secs(1);
/// It ends when nothing has come for so long: a query may be on its way.
pub(super) const QUIET: Duration = Duration::from_millis(100);

/// A connection with queries.
pub(super) struct Connection<S> {
    stream: S,
    asking: Asking,
    shared: Arc<Shared>,
    limits: TcpLimits,
    /// What has arrived and is not answered.
    received: Vec<u8>,
    answers: Vec<u8>,
    left: u32,
    /// When it began to wait for a query, or for the rest of one.
    since: Instant,
    /// Until when it takes queries, once its listener was closed.
    until: Option<Instant>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    pub(super) fn new(stream: S, asking: Asking, shared: Arc<Shared>, limits: TcpLimits) -> Self {
        Self {
            stream,
            asking,
            shared,
            limits,
            received: Vec::new(),
            answers: Vec::new(),
            left: limits.queries,
            since: Instant::now(),
            until: None,
        }
    }

    /// Answers queries in their order until the client goes, is too slow, or the listener is closed.
    pub(super) async fn serve(mut self, mut closed: watch::Receiver<bool>) -> io::Result<()> {
        while self.has_query(&mut closed).await? {
            self.answer_all().await?;
            if self.left == 0 || self.until.is_some_and(|until| until <= Instant::now()) {
                break;
            }
        }
        take_leave(&mut self.stream).await;
        Ok(())
    }

    /// Waits until there is a whole query; false when there will be none.
    async fn has_query(&mut self, closed: &mut watch::Receiver<bool>) -> io::Result<bool> {
        self.since = Instant::now();
        while message(&self.received).is_none() {
            let begun = !self.received.is_empty();
            let deadline = self.deadline();
            let more = timeout_at(deadline, read(&mut self.stream, &mut self.received));
            tokio::select! {
                // What has arrived comes before the end.
                biased;
                got = more => match got {
                    Ok(Ok(0)) | Err(_) => return Ok(false),
                    Ok(Ok(_)) if begun => {}
                    Ok(Ok(_)) => self.since = Instant::now(),
                    Ok(Err(error)) => return Err(error),
                },
                _ = closed.wait_for(|closing| *closing), if self.until.is_none() => {
                    self.until = Some(Instant::now() + LEAVE);
                    self.since = Instant::now();
                }
            }
        }
        Ok(true)
    }

    /// Until when it waits.
    fn deadline(&self) -> Instant {
        let asked = self.left < self.limits.queries;
        match self.until {
            // What has begun gets the time that it may take, however little arrives at a time.
            _ if !self.received.is_empty() => self.since + self.limits.progress,
            None => self.since + self.limits.idle,
            Some(until) if asked => until.min(self.since + QUIET),
            // Who has just connected is about to ask.
            Some(until) => until,
        }
    }

    /// Answers every whole query that has arrived.
    async fn answer_all(&mut self) -> io::Result<()> {
        let mut at = 0;
        while let Some(query) = message(&self.received[at..]) {
            if self.left == 0 {
                break;
            }
            self.left -= 1;
            let end = at + 2 + query.len();
            self.asking.keepalive = Some(self.keepalive());
            let answers = &mut self.answers;
            let transfer = respond(&self.shared, query, &self.asking, |answer| match answer {
                Answer::None => None,
                Answer::One(answer) => {
                    answers.extend_from_slice(&(answer.len() as u16).to_be_bytes());
                    answers.extend_from_slice(answer);
                    None
                }
                Answer::Transfer(transfer) => Some(transfer),
            });
            at = end;
            if let Some(transfer) = transfer {
                self.transfer(*transfer).await?;
            }
            if self.answers.len() >= FLUSH {
                self.flush().await?;
            }
        }
        self.received.drain(..at);
        self.flush().await
    }

    /// What is told of how long the connection is kept, in tenths of a second (RFC 7828, 3.1): 0 for not at all.
    fn keepalive(&self) -> u16 {
        match self.until.is_some() || self.left == 0 {
            true => 0,
            false => u16::try_from(self.limits.idle.as_millis() / 100).unwrap_or(u16::MAX),
        }
    }

    /// Sends a zone after the answers before it.
    async fn transfer(&mut self, mut transfer: Transfer) -> io::Result<()> {
        let shared = self.shared.clone();
        let sent = async {
            while let Some(message) = transfer.next().map_err(io::Error::other)? {
                let length = (message.len() as u16).to_be_bytes();
                self.answers.extend_from_slice(&length);
                self.answers.extend_from_slice(&message);
                self.flush().await?;
                let pause = transfer.pause(message.len());
                // Timers are of whole milliseconds, also one of nothing.
                if !pause.is_zero() {
                    tokio::time::sleep(pause).await;
                }
            }
            io::Result::Ok(())
        };
        let sent = sent.await;
        shared.learned.told.count(match &sent {
            Ok(()) => transfer.sends(),
            Err(error) => {
                let client = self.asking.client;
                tracing::warn!(zone = transfer.zone(), %client, %error, "a transfer was cut");
                Outcome::Cut
            }
        });
        sent
    }

    /// Sends the answers; a client that does not take them in time is given up.
    async fn flush(&mut self) -> io::Result<()> {
        if self.answers.is_empty() {
            return Ok(());
        }
        let send = async {
            self.stream.write_all(&self.answers).await?;
            self.stream.flush().await
        };
        let sent = timeout(self.limits.progress, send).await;
        self.answers.clear();
        self.answers.shrink_to(CHUNK);
        sent.map_err(|_| io::ErrorKind::TimedOut)?
    }
}

async fn read(stream: &mut (impl AsyncRead + Unpin), into: &mut Vec<u8>) -> io::Result<usize> {
    into.reserve(CHUNK);
    stream.read_buf(into).await
}

/// The first whole message.
fn message(received: &[u8]) -> Option<&[u8]> {
    let [high, low, rest @ ..] = received else {
        return None;
    };
    rest.get(..usize::from(u16::from_be_bytes([*high, *low])))
}

#[cfg(test)]
mod tests;
