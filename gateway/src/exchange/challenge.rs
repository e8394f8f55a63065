//! Answering an authority that asks whether a name leads here (RFC 8555, section 8.3).

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, header};
use plugins::{Reply, ReplyBody};

use super::Started;
use crate::serve::Connected;

/// The answer; none when this is a request like any other.
pub(super) async fn answer(connected: &Connected, started: &Started) -> Option<Reply> {
    let acme = &started.state.acme;
    if acme.authorities.is_empty() || started.refused {
        return None;
    }
    if *started.head.method() != Method::GET || !connected.listener.is_plain() {
        return None;
    }
    let answer = acme.answer(started.head.path()).await?;
    let kind = HeaderValue::from_static("application/octet-stream");
    let mut reply = Reply::new(StatusCode::OK).header(header::CONTENT_TYPE, kind);
    reply.body = ReplyBody::Bytes(Bytes::copy_from_slice(answer.as_bytes()));
    Some(reply)
}
