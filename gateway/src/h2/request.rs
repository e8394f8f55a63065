//! One HTTP/2 request, as Pingora's proxy sees it: its own session, and the listener's limits,
//! which that does not know.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderValue, header};
use pingora_core::protocols::http::v2::server::HttpSession;
use pingora_core::{Error, ErrorType, Result};
use pingora_http::RequestHeader;
use tokio::time::{timeout, timeout_at};

use crate::h1::message::content_length;
use crate::pace::{DROP, Pace};
use crate::refusal::Refusal;
use crate::serve::Connected;
use crate::state::ListenerState;

/// A request with what the listener asks of it.
pub(super) struct H2Request {
    /// Some until it is dropped.
    session: Option<HttpSession>,
    slot: H2Slot,
    listener: Arc<ListenerState>,
    pace: Pace,
    /// By when everything must be over.
    due: Option<Instant>,
    /// The final head of the answer was sent, with this status.
    pub(super) status: u16,
    /// Bytes of the answer's body.
    pub(super) sent: u64,
    /// What is read of the body is kept for another try.
    pub(super) keeping: bool,
    /// The whole answer was sent.
    pub(super) answered: bool,
}

/// Marks a request whose body may pause for as long as a tunnel: both sides talk in turn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Conversation;

/// Where the session comes back when Pingora's proxy lets go of it.
#[derive(Clone, Default)]
pub(super) struct H2Slot(Arc<Mutex<Option<HttpSession>>>);

impl H2Slot {
    /// Reads and drops what is left of the body, for a while: a client that is still sending could
    /// take the reset of its stream for an error, and miss the answer.
    pub(super) async fn linger(self, listener: &ListenerState) {
        let session = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(session) = session {
            linger(session, listener).await;
        }
    }
}

/// The same for a session that was answered without the proxy.
pub(super) async fn linger(mut session: HttpSession, listener: &ListenerState) {
    let rest = async {
        let mut dropped = 0;
        while let (true, Ok(Some(bytes))) = (dropped < DROP, session.read_body_bytes().await) {
            dropped += bytes.len() as u64;
        }
    };
    let _ = timeout(listener.timeouts.linger, rest).await;
}

/// Judges what neither the crate h2 nor Pingora does of a head.
pub(super) fn judge(
    head: &RequestHeader,
    listener: &ListenerState,
) -> std::result::Result<(), Refusal> {
    let padded = |value: &HeaderValue| {
        let ends = [value.as_bytes().first(), value.as_bytes().last()];
        ends.into_iter()
            .flatten()
            .any(|end| matches!(end, b' ' | b'\t'))
    };
    if head.headers.values().any(padded) {
        return Err(Refusal::HeaderName); // RFC 9113, section 8.2.1
    }
    let expected = head.headers.get(header::EXPECT);
    if expected.is_some_and(|what| !what.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
        return Err(Refusal::Expectation);
    }
    // Upstreams of HTTP/1 go by it, so there is no doubt about it either.
    let mut lengths = head.headers.get_all(header::CONTENT_LENGTH).iter();
    let length = match (lengths.next(), lengths.next()) {
        (None, _) => None,
        (Some(one), None) => Some(content_length(one.as_bytes()).ok_or(Refusal::ContentLength)?),
        (Some(_), Some(_)) => return Err(Refusal::ContentLength),
    };
    match (length, listener.body) {
        (Some(length), Some(limit)) if length > limit => Err(Refusal::BodyTooLong),
        _ => Ok(()),
    }
}

/// Makes one line of the cookies: HTTP/2 may part them, and nothing else can read that (RFC 9113,
/// section 8.2.3).
fn join_cookies(head: &mut RequestHeader) {
    let mut cookies = head.headers.get_all(header::COOKIE).iter();
    let (Some(first), Some(second)) = (cookies.next(), cookies.next()) else {
        return;
    };
    let mut joined = first.as_bytes().to_vec();
    for cookie in [second].into_iter().chain(cookies) {
        joined.extend_from_slice(b"; ");
        joined.extend_from_slice(cookie.as_bytes());
    }
    if let Ok(joined) = HeaderValue::from_bytes(&joined) {
        let set = head.insert_header(header::COOKIE, joined);
        debug_assert!(set.is_ok(), "name and value are valid");
    }
}

impl H2Request {
    /// A request whose head has just arrived.
    pub(super) fn new(
        mut session: HttpSession,
        listener: Arc<ListenerState>,
        slot: H2Slot,
    ) -> Self {
        let now = Instant::now();
        let head = session.req_header_mut();
        if head.uri.authority().is_some() {
            // It names the same host (RFC 9113, section 8.3.1), and must not be able to differ later.
            head.remove_header(&header::HOST);
        }
        join_cookies(head);
        Self {
            session: Some(session),
            slot,
            pace: Pace::new(now),
            status: 0,
            sent: 0,
            keeping: false,
            answered: false,
            due: listener.timeouts.request.map(|whole| now + whole),
            listener,
        }
    }

    pub(super) fn session(&self) -> &HttpSession {
        self.session.as_ref().expect("it is there until the drop")
    }

    pub(super) fn session_mut(&mut self) -> &mut HttpSession {
        self.session.as_mut().expect("it is there until the drop")
    }

    /// By when the next piece of the body must have come.
    fn body_due(&self) -> Instant {
        let timeouts = &self.listener.timeouts;
        let due = match self.session().req_header().extensions.get() {
            Some(Conversation) => self.pace.last() + timeouts.tunnel,
            None => self.pace.due(timeouts),
        };
        self.due.map_or(due, |whole| whole.min(due))
    }

    /// The next piece of the body, in time and within the limit.
    pub(super) async fn read(&mut self) -> Result<Option<Bytes>> {
        let due = self.body_due();
        let Ok(piece) = timeout_at(due.into(), self.session_mut().read_body_bytes()).await else {
            let whole = self.due.is_some_and(|whole| whole <= due);
            return Err(self.refused(match whole {
                true => Refusal::SlowExchange,
                false => Refusal::SlowBody,
            }));
        };
        let piece = piece?;
        if let Some(bytes) = &piece {
            self.pace.note(bytes.len(), Instant::now());
            let limit = self.listener.body;
            if limit.is_some_and(|limit| self.pace.received > limit) {
                return Err(self.refused(Refusal::BodyTooLong));
            }
        }
        Ok(piece)
    }

    /// Waits until the client gives up, or until everything must be over.
    pub(super) async fn idle(&mut self) -> Box<Error> {
        let due = self.due;
        let idle = self.session_mut().read_body_or_idle(true);
        let outcome = match due {
            Some(due) => timeout_at(due.into(), idle).await,
            None => Ok(idle.await),
        };
        match outcome {
            Ok(Err(error)) => error,
            Ok(Ok(_)) => Error::new_down(ErrorType::ConnectionClosed),
            Err(_) => self.refused(Refusal::SlowExchange),
        }
    }

    /// Before a write: how long the client may take with it.
    pub(super) fn set_patience(&mut self) {
        self.pace.note(0, Instant::now());
        let patience = self.listener.timeouts.write;
        let left = |due: Instant| patience.min(due.saturating_duration_since(Instant::now()));
        let patience = self.due.map_or(patience, left);
        self.session_mut().set_write_timeout(Some(patience));
    }

    /// After a write: who does not read is refused.
    pub(super) fn judge<T>(&self, outcome: Result<T>) -> Result<T> {
        outcome.map_err(|error| match error.etype() {
            ErrorType::WriteTimedout => self.refused(Refusal::SlowReader),
            _ => error,
        })
    }

    fn refused(&self, refusal: Refusal) -> Box<Error> {
        self.listener.refusals.count(refusal, self.client());
        let kind = ErrorType::CustomCode(refusal.label(), refusal.status());
        Error::explain(kind, refusal.detail()).into_down()
    }

    fn client(&self) -> Option<SocketAddr> {
        Connected::of(self.session().digest())?.client.address
    }
}

impl Drop for H2Request {
    fn drop(&mut self) {
        if let Some(session) = self.session.take()
            && self.answered
            && !session.is_body_done()
        {
            *self.slot.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(session);
        }
    }
}
