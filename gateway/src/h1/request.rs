//! A judged head as the request that the proxy works on.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Version, header};
use pingora_http::RequestHeader;

use super::head::Head;
use super::message::Message;
use crate::refusal::Refusal;

/// The request without what concerns this connection alone. `bytes` are those of `head`: the
/// values are parts of them, not copies.
///
/// # Errors
/// When the method or the target is beyond what the `http` crate can hold.
pub(super) fn request(
    head: &Head<'_>,
    message: &Message<'_>,
    bytes: &Bytes,
) -> Result<Box<RequestHeader>, Refusal> {
    let method = Method::from_bytes(head.method()).map_err(|_| Refusal::Method)?;
    let room = Some(head.fields.len() + ROOM);
    let built = match message.target {
        [] => RequestHeader::build_no_case(method, b"/", room),
        target @ [b'?', ..] => RequestHeader::build_no_case(method, &[b"/", target].concat(), room),
        target => RequestHeader::build_no_case(method, target, room),
    };
    let mut request = Box::new(built.map_err(|_| Refusal::Target)?);
    request.set_version(match head.line.http11 {
        true => Version::HTTP_11,
        false => Version::HTTP_10,
    });
    for field in head.fields {
        let name =
            HeaderName::from_bytes(&bytes[field.name.clone()]).map_err(|_| Refusal::HeaderName)?;
        if HOP_BY_HOP.contains(&name) {
            continue;
        }
        let value = HeaderValue::from_maybe_shared(bytes.slice(field.value.clone()))
            .map_err(|_| Refusal::ControlCharacter)?;
        request
            .append_header(name, value)
            .map_err(|_| Refusal::TooManyHeaders)?;
    }
    for name in &message.nominated {
        if let Ok(name) = HeaderName::from_bytes(name) {
            request.remove_header(&name);
        }
    }
    if message.websocket {
        set(&mut request, header::CONNECTION, "Upgrade");
        set(&mut request, header::UPGRADE, "websocket");
    }
    if !message.expects_continue {
        request.remove_header(&header::EXPECT);
    }
    Ok(request)
}

/// Room for the headers that the proxy and its plugins add.
const ROOM: usize = 8;

/// Headers that concern the client's connection alone (RFC 9110, section 7.6.1). Transfer-Encoding
/// stays: the proxy frames the forwarded body by it.
const HOP_BY_HOP: [HeaderName; 6] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRAILER,
    header::UPGRADE,
];

fn set(request: &mut RequestHeader, name: HeaderName, value: &'static str) {
    let set = request.insert_header(name, HeaderValue::from_static(value));
    debug_assert!(set.is_ok(), "name and value are valid");
}
