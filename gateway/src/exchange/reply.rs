//! Answers of our own, and what an error means to a client.

use bytes::Bytes;
use chassis::problem::Problem;
use http::{HeaderValue, Method, StatusCode, header};
use pingora_core::{Error, ErrorSource, ErrorType};
use plugins::{Reply, ResponseHead};

use super::Started;
use crate::refusal::Refusal;

/// An answer of our own, ready to be sent.
pub(crate) struct Answer {
    pub(crate) head: ResponseHead,
    /// Empty when the answer has none, or the client wants none.
    pub(crate) body: Bytes,
}

impl Answer {
    /// Makes an answer of a reply and takes it through the plugins' way out.
    pub(crate) fn compose(started: &mut Started, reply: &Reply) -> Self {
        let (mut head, mut body) = begin(reply, started);
        if !started.way_out(&mut head) {
            (head, body) = begin(&internal_error(), started);
        }
        let bodiless = matches!(
            head.status(),
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
        );
        if !bodiless {
            head.set_header(&header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        }
        if bodiless || *started.head.method() == Method::HEAD {
            body = Bytes::new();
        }
        Self { head, body }
    }
}

fn begin(reply: &Reply, started: &Started) -> (ResponseHead, Bytes) {
    let mut head = ResponseHead::new(reply.status);
    for (name, value) in &reply.headers {
        head.add_header(name, value.clone());
    }
    (head, reply.body_for(&started.exchange))
}

const NO_ENDPOINT: ErrorType = ErrorType::Custom("no endpoint is available");

/// The error of a request that no endpoint may take now.
pub(crate) fn no_endpoint() -> Box<Error> {
    Error::new_up(NO_ENDPOINT)
}

/// The answer to a request that failed, or none when the client is gone.
pub(crate) fn for_error(error: &Error) -> Option<Reply> {
    let problem = match (error.esource(), error.etype()) {
        (_, &NO_ENDPOINT) => {
            let problem = Problem::new(503, "no-endpoint", "Service unavailable");
            let retry = HeaderValue::from_static("1");
            return Some(Reply::problem(problem).header(header::RETRY_AFTER, retry));
        }
        (ErrorSource::Downstream, ErrorType::CustomCode(label, _)) => {
            match Refusal::labelled(label) {
                Some(refusal) => refusal.problem(),
                None => return Some(internal_error()),
            }
        }
        (_, ErrorType::HTTPStatus(status)) => Problem::new(*status, "error", "Error"),
        (
            ErrorSource::Upstream,
            ErrorType::ConnectTimedout
            | ErrorType::ReadTimedout
            | ErrorType::WriteTimedout
            | ErrorType::TLSHandshakeTimedout,
        ) => Problem::new(504, "upstream-timeout", "Gateway timeout"),
        (ErrorSource::Upstream, _) => Problem::new(502, "upstream", "Bad gateway"),
        (
            ErrorSource::Downstream,
            ErrorType::WriteError | ErrorType::ReadError | ErrorType::ConnectionClosed,
        ) => return None,
        (ErrorSource::Downstream, ErrorType::ReadTimedout) => {
            Problem::new(408, "request-timeout", "Request timeout")
        }
        (ErrorSource::Downstream, _) => Problem::new(400, "bad-request", "Bad request"),
        _ => return Some(internal_error()),
    };
    Some(Reply::problem(problem))
}

fn internal_error() -> Reply {
    Reply::problem(Problem::new(500, "internal", "Internal error"))
}
