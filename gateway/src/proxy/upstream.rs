//! What goes to upstreams beside what the client asked, and what is not taken from them.

use http::{StatusCode, Version, header};
use pingora_core::protocols::ALPN;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, ErrorSource, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::Session;

use crate::serve::Connected;

/// A request for a WebSocket goes over HTTP/1.1; where that is not spoken, it is a request like any other.
pub(super) fn upgrade(session: &mut Session, peer: &mut HttpPeer, http2_only: bool) {
    if http2_only {
        session.req_header_mut().remove_header(&header::UPGRADE);
        return;
    }
    peer.options.alpn = ALPN::H1;
    if let Some(connected) = Connected::of(session.digest()) {
        // A WebSocket may be silent for longer than an answer may take.
        peer.options.read_timeout = Some(connected.listener.timeouts.tunnel);
    }
}

/// Pingora drops TE with what concerns one connection alone; in HTTP/2 it does not (RFC 9113,
/// section 8.2.2), and gRPC servers ask for it.
pub(super) fn keep_te(asked: &RequestHeader, head: &mut RequestHeader) -> Result<()> {
    if head.version == Version::HTTP_2
        && let Some(te) = asked.headers.get(header::TE)
    {
        head.insert_header(header::TE, te.clone())?;
    }
    Ok(())
}

/// Whether a request whose connection broke before the answer may be sent to another endpoint: it
/// changes nothing, however often it is done (RFC 9110, section 9.2.1).
pub(super) fn may_repeat(session: &mut Session, error: &Error) -> bool {
    let broke = matches!(
        error.etype(),
        ErrorType::ConnectionClosed | ErrorType::ReadError | ErrorType::WriteError
    );
    let safe = session.req_header().method.is_safe();
    broke
        && *error.esource() == ErrorSource::Upstream
        && safe
        && session.as_mut().is_body_empty()
        && session.response_written().is_none()
}

/// Refuses an answer that would not mean to the client what it means to the upstream: Pingora
/// takes a switch of protocols that nobody asked for, and drops a coding that it did not undo.
pub(super) fn judge(head: &ResponseHeader, asked_to_upgrade: bool) -> Result<()> {
    let upgrade = head.headers.get(header::UPGRADE);
    let websocket = upgrade.is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket"));
    if head.status == StatusCode::SWITCHING_PROTOCOLS && !(asked_to_upgrade && websocket) {
        let what = "switched protocols without being asked";
        return Err(Error::explain(ErrorType::InvalidHTTPHeader, what).into_up());
    }
    let coding = head.headers.get(header::TRANSFER_ENCODING);
    match coding.is_none_or(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked")) {
        true => Ok(()),
        false => {
            let what = "a transfer coding other than chunked";
            Err(Error::explain(ErrorType::InvalidHTTPHeader, what).into_up())
        }
    }
}
