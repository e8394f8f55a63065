//! The contract between the gateway and a plugin.
//!
//! ```text
//! client --> request (plugins in order) --> upstream
//!                 | Respond                    |
//! client <-- response (plugins in reverse) <---+
//!            finished (plugins in reverse): after the last byte, for logs and counts
//! ```

use std::any::Any;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use chassis::problem::{self, Problem};
use http::{HeaderName, HeaderValue, StatusCode, header};

use crate::exchange::Exchange;
use crate::head::{RequestHead, ResponseHead};

/// A plugin's compiled state: one value serves every request of its instance, on every thread.
///
/// A panic in any of these ends one request with 500, not the process.
pub trait Plugin: Any + Send + Sync {
    /// Sees a request before it is forwarded.
    fn request(&self, request: &mut Request<'_>) -> Flow {
        let _ = request;
        Flow::Continue
    }

    /// Goes on where [`Plugin::request`] said [`Flow::Later`]: the place for waiting on I/O.
    fn request_later<'a>(&'a self, request: &'a mut Request<'_>) -> Later<'a> {
        let _ = request;
        Box::pin(async { Flow::Continue })
    }

    /// Sees the head of the response before the client gets it, also of a
    /// response that a plugin or the gateway itself made.
    fn response(&self, response: &mut Response<'_>) {
        let _ = response;
    }

    /// Which bodies the plugin wants to see; asked once, when the configuration is compiled.
    fn bodies(&self) -> Bodies {
        Bodies::default()
    }

    /// Sees a piece of the request's body, and may change it. An error ends the request with 500.
    fn request_body(&self, piece: &mut Piece<'_>) {
        let _ = piece;
    }

    /// Sees a piece of the response's body, and may change it (then the plugin's
    /// `response` must have removed `content-length`).
    fn response_body(&self, piece: &mut Piece<'_>) {
        let _ = piece;
    }

    /// Sees how the request ended, after the last byte.
    fn finished(&self, finished: &Finished<'_>) {
        let _ = finished;
    }
}

/// What [`Plugin::request_later`] gives back.
pub type Later<'a> = Pin<Box<dyn Future<Output = Flow> + Send + 'a>>;

/// What happens to a request next.
#[derive(Debug)]
pub enum Flow {
    /// The next plugin sees it, or it is forwarded.
    Continue,
    /// This is the answer; it is not forwarded.
    Respond(Box<Reply>),
    /// The plugin has to wait for something: ask [`Plugin::request_later`].
    Later,
}

/// A request on its way in.
#[derive(Debug)]
pub struct Request<'a> {
    /// Its head.
    pub head: &'a mut RequestHead,
    /// What else is known of it.
    pub exchange: &'a mut Exchange,
}

/// A response on its way out.
#[derive(Debug)]
pub struct Response<'a> {
    /// The head of the request, as it was forwarded.
    pub request: &'a RequestHead,
    /// The head of the response.
    pub head: &'a mut ResponseHead,
    /// What else is known.
    pub exchange: &'a mut Exchange,
}

/// Which bodies a plugin wants to see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bodies {
    /// The request's.
    pub request: bool,
    /// The response's.
    pub response: bool,
}

/// A piece of a body on its way through.
#[derive(Debug)]
pub struct Piece<'a> {
    /// The bytes; none for an end without bytes. A plugin may replace them.
    pub bytes: &'a mut Option<Bytes>,
    /// Whether this is the last piece.
    pub last: bool,
    /// What is known of the exchange.
    pub exchange: &'a mut Exchange,
}

/// A request that has ended.
#[derive(Debug)]
pub struct Finished<'a> {
    /// The head of the request.
    pub request: &'a RequestHead,
    /// What else is known.
    pub exchange: &'a Exchange,
    /// The status that the client got; 0 when it got none.
    pub status: u16,
    /// Bytes of the request's body.
    pub bytes_received: u64,
    /// Bytes of the response's body.
    pub bytes_sent: u64,
    /// From the head of the request to the last byte of the response.
    pub duration: Duration,
    /// What went wrong, if anything.
    pub error: Option<&'a str>,
}

/// An answer that a plugin or the gateway makes itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// Its status.
    pub status: StatusCode,
    /// Its headers, without `content-length`.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Its body.
    pub body: ReplyBody,
}

/// The body of a [`Reply`].
#[derive(Clone, Debug, PartialEq)]
pub enum ReplyBody {
    /// These bytes.
    Bytes(Bytes),
    /// A problem, written out with the request's id when it is sent.
    Problem(Problem),
}

impl Reply {
    /// An answer without headers and body.
    pub fn new(status: StatusCode) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: ReplyBody::Bytes(Bytes::new()),
        }
    }

    /// An RFC 9457 problem.
    pub fn problem(problem: Problem) -> Self {
        let status =
            StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let kind = HeaderValue::from_static(problem::CONTENT_TYPE);
        Self {
            status,
            headers: vec![(header::CONTENT_TYPE, kind)],
            body: ReplyBody::Problem(problem),
        }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// The body's bytes, for this request.
    pub fn body_for(&self, exchange: &Exchange) -> Bytes {
        match &self.body {
            ReplyBody::Bytes(bytes) => bytes.clone(),
            ReplyBody::Problem(problem) if exchange.request_id.is_empty() => {
                problem.to_json().into()
            }
            ReplyBody::Problem(problem) => problem
                .clone()
                .request_id(exchange.request_id.as_str())
                .to_json()
                .into(),
        }
    }
}

impl From<Reply> for Flow {
    fn from(reply: Reply) -> Self {
        Self::Respond(Box::new(reply))
    }
}
