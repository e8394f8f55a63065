//! Answering an authority that asks whether a name leads here (RFC 8555, section 8.3).

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, header};
use pingora_proxy::Session;
use plugins::{Reply, ReplyBody};

use super::Started;
use crate::serve::Connected;

/// The answer; none when this is a request like any other.
pub(super) async fn answer(session: &Session, started: &Started) -> Option<Reply> {
    let acme = &started.state.acme;
    if acme.authorities.is_empty() || started.refused {
        return None;
    }
    let head = session.req_header();
    if head.method != Method::GET || !Connected::of(session.digest())?.listener.is_plain() {
        return None;
    }
    let answer = acme.answer(head.uri.path()).await?;
    let kind = HeaderValue::from_static("application/octet-stream");
    let mut reply = Reply::new(StatusCode::OK).header(header::CONTENT_TYPE, kind);
    reply.body = ReplyBody::Bytes(Bytes::copy_from_slice(answer.as_bytes()));
    Some(reply)
}
