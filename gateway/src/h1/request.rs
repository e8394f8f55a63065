//! A judged head as the request that is forwarded.

use http::{Method, Version};
use plugins::RequestHead;

use super::head::{Head, RequestLine};
use super::message::Message;
use crate::refusal::Refusal;

/// The request without what concerns this connection alone.
///
/// # Errors
/// When the method is longer than any that is known.
pub(super) fn request(
    head: &Head<'_, RequestLine>,
    message: &Message<'_>,
) -> Result<RequestHead, Refusal> {
    let method = Method::from_bytes(head.method()).map_err(|_| Refusal::Method)?;
    let version = match head.line.http11 {
        true => Version::HTTP_11,
        false => Version::HTTP_10,
    };
    let stays = |name: &[u8]| {
        !is_hop_by_hop(name)
            && !message
                .nominated
                .iter()
                .any(|one| one.eq_ignore_ascii_case(name))
            && (message.expects_continue || !name.eq_ignore_ascii_case(b"expect"))
    };
    let mut fields = Vec::with_capacity(head.fields.len() + ROOM);
    let kept = head.fields.iter();
    fields.extend(
        kept.filter(|field| stays(&head.bytes[field.name.clone()]))
            .cloned(),
    );
    let mut text = Vec::with_capacity(head.len + TEXT_ROOM);
    text.extend_from_slice(&head.bytes[..head.len]);
    let target = std::str::from_utf8(message.target).map_err(|_| Refusal::Target)?;
    let target = match target.starts_with('/') {
        true => target.to_owned(),
        false => format!("/{target}"),
    };
    Ok(RequestHead::of_text(method, version, target, text, fields))
}

/// Room for the headers that the gateway and its plugins add.
const ROOM: usize = 8;
const TEXT_ROOM: usize = 256;

/// Headers that concern one connection alone (RFC 9110, section 7.6.1). Transfer-Encoding stays: the
/// forwarded body is framed by it.
pub(crate) fn is_hop_by_hop(name: &[u8]) -> bool {
    let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
    match name.len() {
        2 => is("te"),
        7 => is("upgrade") || is("trailer"),
        10 => is("connection") || is("keep-alive"),
        14 => is("http2-settings"),
        16 => is("proxy-connection"),
        18 => is("proxy-authenticate"),
        19 => is("proxy-authorization"),
        _ => false,
    }
}
