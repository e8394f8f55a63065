//! One request on a client's connection.
//!
//! The connection comes back when the session is released, together with what may become of it:
//! through [`Slot`] when Pingora's proxy had it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{StatusCode, header};
use pingora_core::{Error, ErrorType};
use plugins::ResponseHead;

use super::body::Body;
use super::chunked::Piece;
use super::connection::{Connection, Limit};
use super::forwarded::Forwarded;
use super::response::{Asked, Ends, frame, malformed_length, write_chunk_size, write_head};
use super::retry::RetryBuffer;
use crate::deadline::Broken;
use crate::pace::DROP;
use crate::refusal::Refusal;

/// A request on a connection.
pub(super) struct Session {
    /// Some until it is dropped.
    connection: Option<Box<Connection>>,
    /// What Pingora's proxy needs of it; none until it is handed over.
    pub(super) forwarded: Option<Box<Forwarded>>,
    pub(super) body: Body,
    pub(super) bodiless: bool,
    asked: Asked,
    pub(super) keep_alive: bool,
    /// The client has said that this is its last request.
    last: bool,
    /// The upstream is asked to invite the body.
    pub(super) invited_elsewhere: bool,
    /// The client asked for 100 before it sends the body, and got none yet.
    waits: bool,
    /// By when everything must be over.
    due: Option<Instant>,
    pub(super) answer: Answer,
    pub(super) retry: RetryBuffer,
    /// The client takes nothing more.
    stuck: bool,
}

/// What was sent of the answer.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// The status of the final head; 0 before it.
    pub(super) status: u16,
    ends: Option<Ends>,
    /// Bytes of the body that are still owed.
    owed: u64,
    /// Bytes of the body.
    pub(super) sent: usize,
    complete: bool,
    /// Anything at all was sent.
    begun: bool,
}

/// What may become of a connection after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// The next request, once the rest of this one's body was dropped.
    Next,
    /// It ends, and the client has said that it will send no more.
    End,
    /// It ends, and the client may still be sending.
    Close,
    /// It ends at once, by a reset: the answer is not complete.
    Abort,
}

/// Where a connection comes back, with the rest of the body.
#[derive(Clone, Default)]
pub(super) struct Slot(Arc<Mutex<Option<Back>>>);

/// What comes back: the connection, what may become of it, and the rest of the body.
pub(super) type Back = (Box<Connection>, Then, Body);

/// What a session begins with.
pub(super) struct Begin {
    pub(super) body: Body,
    /// The request is HEAD.
    pub(super) head: bool,
    pub(super) http11: bool,
    pub(super) keep_alive: bool,
    pub(super) expects_continue: bool,
    pub(super) websocket: bool,
    pub(super) due: Option<Instant>,
}

impl Session {
    pub(super) fn new(connection: Box<Connection>, begin: Begin) -> Self {
        Self {
            connection: Some(connection),
            forwarded: None,
            asked: Asked {
                head: begin.head,
                http11: begin.http11,
                websocket: begin.websocket,
            },
            bodiless: begin.body.is_done(),
            body: begin.body,
            keep_alive: begin.keep_alive,
            last: !begin.keep_alive,
            invited_elsewhere: false,
            waits: begin.expects_continue,
            due: begin.due,
            answer: Answer::default(),
            retry: RetryBuffer::default(),
            stuck: false,
        }
    }

    pub(super) fn connection(&self) -> &Connection {
        self.connection
            .as_ref()
            .expect("it is there until the drop")
    }

    pub(super) fn connection_mut(&mut self) -> &mut Connection {
        self.connection
            .as_mut()
            .expect("it is there until the drop")
    }

    /// Gives the connection back, with what may become of it.
    pub(super) fn release(mut self) -> Option<Back> {
        self.take_back()
    }

    fn take_back(&mut self) -> Option<Back> {
        let then = self.then();
        let connection = self.connection.take()?;
        if then == Then::Abort {
            // However the connection ends now, even with this process: it is a reset, so that the
            // client cannot take what it has for a whole answer.
            connection.io.reset_on_close();
        }
        Some((connection, then, self.body.take()))
    }

    /// Whether it asks for a WebSocket, and the header that does was left to it.
    pub(super) fn asks_for_tunnel(&self) -> bool {
        let left = |forwarded: &Forwarded| forwarded.head.headers.contains_key(header::UPGRADE);
        self.asked.websocket && self.forwarded.as_deref().is_none_or(left)
    }

    /// Nothing comes after the answer.
    pub(super) fn end_after(&mut self) {
        self.keep_alive = false;
    }

    /// Whether the upstream is asked to invite the body (RFC 9110, section 10.1.1).
    fn leaves_the_invitation(&self) -> bool {
        let asked = |forwarded: &Forwarded| forwarded.head.headers.contains_key(header::EXPECT);
        match self.forwarded.as_deref() {
            Some(forwarded) => asked(forwarded),
            None => self.invited_elsewhere,
        }
    }

    /// Whether it is not known yet if this becomes a tunnel. Until then Pingora must not hear that
    /// the body has ended: when the upstream's 101 comes before it has passed that on, it takes the
    /// end of the request's body for the end of the tunnel.
    pub(super) fn is_undecided(&self) -> bool {
        self.answer.status == 0 && self.asks_for_tunnel()
    }

    /// Whether it is or was a tunnel.
    pub(super) fn tunnelled(&self) -> bool {
        self.answer.ends == Some(Ends::Tunnel)
    }

    /// The next piece of the body.
    pub(super) async fn read(&mut self) -> pingora_core::Result<Option<Bytes>> {
        loop {
            let connection = self
                .connection
                .as_mut()
                .expect("it is there until the drop");
            let limits = &connection.connected.listener.http1;
            let piece = self
                .body
                .next(&mut connection.arrived, limits, Instant::now());
            match piece.map_err(|refusal| self.refused(refusal))? {
                Piece::Data(bytes) => {
                    self.retry.keep(&bytes);
                    return Ok(Some(bytes));
                }
                Piece::End => return Ok(None),
                Piece::More => {}
            }
            if self.answer.complete && !self.keep_alive {
                return Err(unread());
            }
            self.invite().await?;
            if self.body.is_tunnel() && self.connection().ended {
                self.body.end_half(Instant::now());
            }
            match (self.fill().await?, self.body.is_tunnel()) {
                (Filled::Some, _) | (Filled::End, true) => {}
                (Filled::Late, _) => self.body.end(),
                (Filled::End, false) => return Err(self.refused(Refusal::BodyIncomplete)),
            }
        }
    }

    /// Reads more of the body.
    async fn fill(&mut self) -> pingora_core::Result<Filled> {
        let (due, tunnel) = (self.body_due(), self.body.is_tunnel());
        let connection = self.connection_mut();
        let read = match connection.ended && tunnel {
            true => Err(connection.wait(Some(due)).await),
            false => connection.read_body(due).await,
        };
        match read {
            Ok(0) => Ok(Filled::End),
            Ok(_) => Ok(Filled::Some),
            Err(Broken::Late) if tunnel => Ok(Filled::Late),
            Err(Broken::Late) => {
                let whole = self.due.is_some_and(|whole| whole <= due);
                Err(self.refused(match whole {
                    true => Refusal::SlowExchange,
                    false => Refusal::SlowBody,
                }))
            }
            Err(Broken::Failed(error)) => Err(gone("reading the request", error)),
        }
    }

    /// Tells a waiting client to send the body, unless the upstream is asked to (RFC 9110, section 10.1.1).
    async fn invite(&mut self) -> pingora_core::Result<()> {
        if !self.waits || self.answer.begun || self.leaves_the_invitation() {
            return Ok(());
        }
        self.waits = false;
        let out = &mut self.connection_mut().out;
        out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        self.send().await
    }

    fn body_due(&self) -> Instant {
        let due = self.body.due(self.connection().timeouts());
        match self.due {
            Some(whole) if !self.body.is_tunnel() => due.min(whole),
            _ => due,
        }
    }

    /// Waits until the client is gone or the exchange took too long; bytes of later requests are kept.
    pub(super) async fn idle(&mut self) -> Box<Error> {
        loop {
            let due = self.due;
            let connection = self.connection_mut();
            let room = connection.arrived.len() < AHEAD && !connection.ended;
            let outcome = match (room, due) {
                (true, Some(due)) => connection.read(Limit::Until(due)).await,
                (true, None) => connection.read(Limit::None).await,
                // A client that has said all it has to say may still listen.
                (false, due) => Err(connection.wait(due).await),
            };
            match outcome {
                Ok(_) => {}
                Err(Broken::Late) => return self.refused(Refusal::SlowExchange),
                Err(Broken::Failed(error)) => return gone("waiting with the client", error),
            }
        }
    }

    /// Writes a head; `end` when no body follows.
    pub(super) async fn write_answer_head(
        &mut self,
        mut head: ResponseHead,
        end: bool,
    ) -> pingora_core::Result<()> {
        if self.answer.status != 0 {
            return Ok(());
        }
        let ends = frame(&mut head, end, self.asked).map_err(|_| malformed_length())?;
        if ends == Ends::Interim {
            return self.write_interim(&head).await;
        }
        let draining = *self.connection().closing.borrow();
        let ahead = self.connection().arrived.len() as u64;
        // Whoever waits to be invited may never send the body.
        let waits = self.waits && ahead == 0 && !self.body.is_done();
        let unread = waits || !self.body.may_be_nearly_done(DROP + ahead);
        if draining || unread || ends == Ends::Close {
            self.keep_alive = false;
        }
        let connection = match (ends, self.keep_alive) {
            (Ends::Tunnel, _) => None,
            (_, false) => Some("close"),
            (_, true) if !self.asked.http11 => Some("keep-alive"),
            (_, true) => None,
        };
        write_head(&mut self.connection_mut().out, &head, connection);
        self.answer.owed = match ends {
            Ends::Length(length) => length,
            _ => 0,
        };
        self.answer.complete = ends == Ends::Bodiless;
        self.answer.ends = Some(ends);
        self.answer.status = head.status().as_u16();
        self.answer.begun = true;
        match ends {
            Ends::Tunnel => {
                self.body.become_tunnel();
                self.send().await
            }
            _ => Ok(()),
        }
    }

    async fn write_interim(&mut self, head: &ResponseHead) -> pingora_core::Result<()> {
        if !self.asked.http11 {
            return Ok(());
        }
        if head.status() == StatusCode::CONTINUE {
            if !self.waits {
                return Ok(());
            }
            self.waits = false;
        }
        write_head(&mut self.connection_mut().out, head, None);
        self.answer.begun = true;
        self.send().await
    }

    /// Writes a piece of the body, framed.
    pub(super) async fn write_piece(&mut self, bytes: &[u8]) -> pingora_core::Result<()> {
        if bytes.is_empty() || self.answer.complete {
            return Ok(());
        }
        self.answer.sent += bytes.len();
        match self.answer.ends {
            Some(Ends::Length(_)) => {
                // More than was announced must not look like the next answer.
                let fits = usize::try_from(self.answer.owed).unwrap_or(usize::MAX);
                let bytes = &bytes[..bytes.len().min(fits)];
                self.answer.owed -= bytes.len() as u64;
                self.gather(bytes).await?;
                self.answer.complete = self.answer.owed == 0;
                Ok(())
            }
            Some(Ends::Chunked) => {
                write_chunk_size(&mut self.connection_mut().out, bytes.len());
                self.gather(bytes).await?;
                self.connection_mut().out.extend_from_slice(b"\r\n");
                Ok(())
            }
            Some(Ends::Tunnel) => {
                self.body.touch(Instant::now());
                self.gather(bytes).await
            }
            Some(Ends::Close) => self.gather(bytes).await,
            Some(Ends::Bodiless | Ends::Interim) | None => Ok(()),
        }
    }

    /// Ends the answer's body, with trailers where the framing has a place for them.
    pub(super) async fn finish_answer(
        &mut self,
        trailers: Option<&http::HeaderMap>,
    ) -> pingora_core::Result<()> {
        if !self.answer.complete {
            match self.answer.ends {
                Some(Ends::Chunked) => {
                    let out = &mut self.connection_mut().out;
                    out.extend_from_slice(b"0\r\n");
                    for (name, value) in trailers.into_iter().flatten() {
                        out.extend_from_slice(name.as_str().as_bytes());
                        out.extend_from_slice(b": ");
                        out.extend_from_slice(value.as_bytes());
                        out.extend_from_slice(b"\r\n");
                    }
                    out.extend_from_slice(b"\r\n");
                    self.answer.complete = true;
                }
                Some(Ends::Close) => self.answer.complete = true,
                // The upstream has ended it: the client hears that by our close.
                Some(Ends::Tunnel) => self.body.end(),
                _ => {}
            }
        }
        self.send().await
    }

    /// Sends what is gathered.
    pub(super) async fn send(&mut self) -> pingora_core::Result<()> {
        if self.connection().out.is_empty() {
            return Ok(());
        }
        let patience = self.patience();
        let sent = self.connection_mut().send(&[], patience).await;
        self.judge_sent(sent)
    }

    /// Takes bytes of the answer; small ones wait for more.
    async fn gather(&mut self, bytes: &[u8]) -> pingora_core::Result<()> {
        let patience = self.patience();
        let sent = self.connection_mut().gather(bytes, patience).await;
        self.judge_sent(sent)
    }

    fn judge_sent(&mut self, sent: Result<(), Broken>) -> pingora_core::Result<()> {
        match sent {
            Ok(()) => Ok(()),
            Err(Broken::Late) => {
                self.stuck = true;
                Err(self.refused(Refusal::SlowReader))
            }
            Err(Broken::Failed(error)) => Err(gone("writing the answer", error)),
        }
    }

    fn patience(&self) -> Duration {
        let patience = self.connection().timeouts().write;
        match self.due {
            Some(due) if !self.body.is_tunnel() => {
                patience.min(due.saturating_duration_since(Instant::now()))
            }
            _ => patience,
        }
    }

    /// Notes a refusal; the connection does not go on after it.
    fn refused(&mut self, refusal: Refusal) -> Box<Error> {
        self.keep_alive = false;
        self.connection().refuse(refusal);
        let kind = ErrorType::CustomCode(refusal.label(), refusal.status());
        Error::explain(kind, refusal.detail()).into_down()
    }

    fn then(&self) -> Then {
        let connection = self.connection.as_ref();
        let unsent = connection.is_some_and(|connection| !connection.out.is_empty());
        match (self.answer.complete, self.keep_alive) {
            (true, _) if unsent => Then::Abort,
            _ if self.stuck => Then::Abort,
            _ if self.tunnelled() => Then::Close,
            (true, true) => Then::Next,
            // Behind a body old clients send one more line end (RFC 9112, section 2.2).
            (true, false) if self.last && self.bodiless => Then::End,
            (true, false) => Then::Close,
            (false, _) if self.answer.begun => Then::Abort,
            (false, _) => Then::Close,
        }
    }
}

/// What came of reading more.
enum Filled {
    Some,
    /// The client has sent its last byte.
    End,
    /// A tunnel in which nothing passed for too long.
    Late,
}

/// Bytes of later requests that are read while one is worked on.
const AHEAD: usize = 64 << 10;

/// The whole answer was sent, and said that the connection ends: the rest of the body has no use.
fn unread() -> Box<Error> {
    let kind = ErrorType::Custom("unread body");
    Error::explain(kind, "answered before the body had come").into_down()
}

fn gone(doing: &'static str, error: std::io::Error) -> Box<Error> {
    Error::because(ErrorType::ConnectionClosed, doing, error).into_down()
}

impl Slot {
    /// The connection that came back.
    pub(super) fn take(&self) -> Option<Back> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn put(&self, back: Back) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(back);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let back = self.take_back();
        if let (Some(back), Some(forwarded)) = (back, &self.forwarded) {
            forwarded.slot.put(back);
        }
    }
}
