//! What a request needs of whatever carries it to us.

use bytes::Bytes;
use pingora_core::{Error, Result};
use plugins::ResponseHead;

use crate::serve::Connected;

/// The client's side of one request. Errors name its fault or its absence; their source is the
/// downstream, in Pingora's words too.
///
/// `read` and `idle` may be dropped before they are ready without losing anything.
pub(crate) trait Downstream: Send {
    /// Who it is.
    fn connected(&self) -> &Connected;

    /// Whether it asks for a WebSocket.
    fn asks_for_tunnel(&self) -> bool;

    /// Whether the request has no body at all.
    fn is_bodiless(&self) -> bool;

    /// Whether nothing of the body is left to read.
    fn is_body_done(&self) -> bool;

    /// The next piece of the request's body, in time and within the limit; none at its end.
    fn read(&mut self) -> impl Future<Output = Result<Option<Bytes>>> + Send;

    /// Waits until the client is gone, or everything must be over.
    fn idle(&mut self) -> impl Future<Output = Box<Error>> + Send;

    /// From now on keeps what is read of the body, as long as it is small.
    fn keep(&mut self);

    /// What was kept; none when it was too much.
    fn kept(&self) -> Option<Bytes>;

    /// Whether the upstream is asked to invite the body, and the client waits for that (RFC 9110,
    /// section 10.1.1).
    fn leave_invitation(&mut self, leave: bool);

    /// Whether reading the rest of the request has any use after the answer.
    fn goes_on(&self) -> bool;

    /// The connection is to end after the answer.
    fn close_after(&mut self);

    /// Writes a head, of 1xx too; `end` when no body follows.
    fn answer(&mut self, head: ResponseHead, end: bool) -> impl Future<Output = Result<()>> + Send;

    /// Writes a piece of the answer's body; small ones may wait for more.
    fn write(&mut self, bytes: &[u8], last: bool) -> impl Future<Output = Result<()>> + Send;

    /// Sends what waits.
    fn flush(&mut self) -> impl Future<Output = Result<()>> + Send;

    /// Ends the answer.
    fn finish(&mut self) -> impl Future<Output = Result<()>> + Send;

    /// The status of the answer that has begun; 0 when none has.
    fn status(&self) -> u16;

    /// Bytes of the request's body.
    fn received(&self) -> u64;

    /// Bytes of the answer's body.
    fn sent(&self) -> u64;
}
