//! Sending answers of our own, and saying what an error means to a client.

use chassis::problem::Problem;
use http::{HeaderValue, Method, header};
use pingora_core::{Error, ErrorSource, ErrorType};
use pingora_http::ResponseHeader;
use pingora_proxy::Session;
use plugins::{Reply, RequestView, Response, ResponseHead};

use super::Started;
use crate::h1::CloseAfter;
use crate::refusal::Refusal;

/// Sends a reply through the plugins' way out.
pub(super) async fn send(
    session: &mut Session,
    started: &mut Started,
    reply: Reply,
) -> pingora_core::Result<()> {
    let mut head = ResponseHeader::build(reply.status, Some(reply.headers.len() + 4))?;
    for (name, value) in &reply.headers {
        head.append_header(name.clone(), value.clone())?;
    }
    let mut body = reply.body_for(&started.exchange);
    let sound = started.route.chain.response(&mut Response {
        request: RequestView::new(session.req_header()),
        head: ResponseHead::new(&mut head),
        exchange: &mut started.exchange,
    });
    if !sound {
        let internal = internal_error();
        body = internal.body_for(&started.exchange);
        head = ResponseHeader::build(internal.status, Some(2))?;
        for (name, value) in internal.headers {
            head.append_header(name, value)?;
        }
    }
    if started.refused {
        head.extensions_mut().insert(CloseAfter);
    }
    let bodiless = reply.status == 204 || reply.status == 304;
    if !bodiless {
        head.insert_header(header::CONTENT_LENGTH, HeaderValue::from(body.len()))?;
    }
    let ends = bodiless || body.is_empty() || session.req_header().method == Method::HEAD;
    session.write_response_header(Box::new(head), ends).await?;
    if !ends {
        session.write_response_body(Some(body), true).await?;
    }
    Ok(())
}

/// The answer to a request that failed, or none when the client is gone.
pub(super) fn for_error(error: &Error) -> Option<Reply> {
    let problem = match (error.esource(), error.etype()) {
        (_, ErrorType::HTTPStatus(503)) => {
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
