//! One HTTP/2 request, as Pingora's proxy sees it: its own session, and the listener's limits,
//! which that does not know.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use futures::Stream;
use http::{HeaderMap, header};
use pingora_core::protocols::Digest;
use pingora_core::protocols::http::HttpTask;
use pingora_core::protocols::http::custom::{CustomMessageWrite, server};
use pingora_core::protocols::http::v2::server::HttpSession;
use pingora_core::protocols::l4::socket::SocketAddr as PeerAddress;
use pingora_core::{Error, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use tokio::time::{timeout, timeout_at};

use super::connected::Connected;
use crate::h1::refusal::Refusal;
use crate::h1::{DROP, Pace};
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
    /// The whole answer was sent.
    answered: bool,
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

impl H2Request {
    /// A request whose head has just arrived.
    ///
    /// # Errors
    /// When its body is known to be too long; the session, to say so.
    pub(super) fn new(
        mut session: HttpSession,
        listener: Arc<ListenerState>,
        slot: H2Slot,
    ) -> std::result::Result<Self, (HttpSession, Refusal)> {
        let now = Instant::now();
        let head = session.req_header_mut();
        if head.uri.authority().is_some() {
            // It names the same host (RFC 9113, section 8.3.1), and must not be able to differ later.
            head.remove_header(&header::HOST);
        }
        let length = head.headers.get(header::CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if let (Some(length), Some(limit)) = (length, listener.body)
            && length > limit
        {
            return Err((session, Refusal::BodyTooLong));
        }
        Ok(Self {
            session: Some(session),
            slot,
            pace: Pace::new(now),
            answered: false,
            due: listener.timeouts.request.map(|whole| now + whole),
            listener,
        })
    }

    fn session(&self) -> &HttpSession {
        self.session.as_ref().expect("it is there until the drop")
    }

    fn session_mut(&mut self) -> &mut HttpSession {
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
    async fn read(&mut self) -> Result<Option<Bytes>> {
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
    async fn idle(&mut self) -> Box<Error> {
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
    fn set_patience(&mut self) {
        self.pace.note(0, Instant::now());
        let patience = self.listener.timeouts.write;
        let left = |due: Instant| patience.min(due.saturating_duration_since(Instant::now()));
        let patience = self.due.map_or(patience, left);
        self.session_mut().set_write_timeout(Some(patience));
    }

    /// After a write: who does not read is refused.
    fn judge<T>(&self, outcome: Result<T>) -> Result<T> {
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

/// What Pingora calls messages beside the body: there are none.
type Messages = Box<dyn Stream<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>;

#[async_trait]
impl server::Session for H2Request {
    fn req_header(&self) -> &RequestHeader {
        self.session().req_header()
    }

    fn req_header_mut(&mut self) -> &mut RequestHeader {
        self.session_mut().req_header_mut()
    }

    async fn read_body_bytes(&mut self) -> Result<Option<Bytes>> {
        self.read().await
    }

    async fn drain_request_body(&mut self) -> Result<()> {
        // Dropping the stream tells the client that the rest has no use.
        Ok(())
    }

    async fn write_response_header(&mut self, head: Box<ResponseHeader>, end: bool) -> Result<()> {
        self.session_mut().write_response_header(head, end)?;
        self.answered |= end;
        Ok(())
    }

    async fn write_response_header_ref(&mut self, head: &ResponseHeader, end: bool) -> Result<()> {
        self.write_response_header(Box::new(head.clone()), end)
            .await
    }

    async fn write_body(&mut self, data: Bytes, end: bool) -> Result<()> {
        self.set_patience();
        let written = self.session_mut().write_body(data, end).await;
        self.answered |= end && written.is_ok();
        self.judge(written)
    }

    async fn write_trailers(&mut self, trailers: HeaderMap) -> Result<()> {
        self.session_mut().write_trailers(trailers)?;
        self.answered = true;
        Ok(())
    }

    async fn response_duplex_vec(&mut self, tasks: Vec<HttpTask>) -> Result<bool> {
        self.set_patience();
        let written = self.session_mut().response_duplex_vec(tasks).await;
        self.answered |= matches!(written, Ok(true));
        self.judge(written)
    }

    // The deadlines are the listener's.
    fn set_read_timeout(&mut self, _: Option<Duration>) {}

    fn get_read_timeout(&self) -> Option<Duration> {
        None
    }

    fn set_write_timeout(&mut self, _: Option<Duration>) {}

    fn get_write_timeout(&self) -> Option<Duration> {
        None
    }

    fn set_total_drain_timeout(&mut self, _: Option<Duration>) {}

    fn get_total_drain_timeout(&self) -> Option<Duration> {
        None
    }

    fn request_summary(&self) -> String {
        self.session().request_summary()
    }

    fn response_written(&self) -> Option<&ResponseHeader> {
        self.session().response_written()
    }

    async fn shutdown(&mut self, _: u32, _: &str) {
        self.session_mut().shutdown();
    }

    fn is_body_done(&mut self) -> bool {
        self.session().is_body_done()
    }

    async fn finish(&mut self) -> Result<()> {
        self.session_mut().finish()?;
        self.answered |= self.session().response_written().is_some();
        Ok(())
    }

    fn is_body_empty(&mut self) -> bool {
        self.session().is_body_empty()
    }

    async fn read_body_or_idle(&mut self, no_body_expected: bool) -> Result<Option<Bytes>> {
        match no_body_expected || self.session().is_body_done() {
            true => Err(self.idle().await),
            false => self.read().await,
        }
    }

    fn body_bytes_sent(&self) -> usize {
        self.session().body_bytes_sent()
    }

    fn body_bytes_read(&self) -> usize {
        self.session().body_bytes_read()
    }

    fn digest(&self) -> Option<&Digest> {
        self.session().digest()
    }

    fn digest_mut(&mut self) -> Option<&mut Digest> {
        self.session_mut().digest_mut()
    }

    fn client_addr(&self) -> Option<&PeerAddress> {
        self.session().client_addr()
    }

    fn server_addr(&self) -> Option<&PeerAddress> {
        self.session().server_addr()
    }

    fn pseudo_raw_h1_request_header(&self) -> Bytes {
        Bytes::new()
    }

    fn enable_retry_buffering(&mut self) {
        self.session_mut().enable_retry_buffering();
    }

    fn retry_buffer_truncated(&self) -> bool {
        self.session().retry_buffer_truncated()
    }

    fn get_retry_buffer(&self) -> Option<Bytes> {
        self.session().get_retry_buffer()
    }

    async fn finish_custom(&mut self) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_reader(&mut self) -> Option<Messages> {
        None
    }

    fn restore_custom_message_reader(&mut self, _: Messages) -> Result<()> {
        Err(Error::new(ErrorType::InternalError))
    }

    fn take_custom_message_writer(&mut self) -> Option<Box<dyn CustomMessageWrite>> {
        None
    }

    fn restore_custom_message_writer(&mut self, _: Box<dyn CustomMessageWrite>) -> Result<()> {
        Err(Error::new(ErrorType::InternalError))
    }
}
