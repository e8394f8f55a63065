//! How an answer is framed for an HTTP/1.x client, and its head as bytes.

use bytes::BufMut;
use http::{HeaderName, HeaderValue, StatusCode, header};
use pingora_core::protocols::http::date::get_cached_date;
use pingora_http::ResponseHeader;

use super::message::content_length;

/// What an answer's framing depends on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    /// The request was HEAD.
    pub(super) head: bool,
    /// The client speaks HTTP/1.1.
    pub(super) http11: bool,
    /// It asked for a WebSocket.
    pub(super) websocket: bool,
}

/// How the client knows where the answer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ends {
    /// It is one of 1xx: another answer follows.
    Interim,
    /// It has no body.
    Bodiless,
    /// After so many bytes.
    Length(u64),
    /// With the last chunk.
    Chunked,
    /// When the connection does.
    Close,
    /// It is a tunnel from now on.
    Tunnel,
}

/// The upstream's answer says its length in a way that nobody should believe.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadLength;

/// Headers that concern one connection alone (RFC 9110, section 7.6.1).
const HOP_BY_HOP: [HeaderName; 6] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Decides the framing (RFC 9112, section 6) and makes the headers say so; `end` when it is known
/// that no body follows.
///
/// # Errors
/// When the answer's own length is malformed.
pub(super) fn frame(head: &mut ResponseHeader, end: bool, asked: Asked) -> Result<Ends, BadLength> {
    let status = head.status;
    let tunnel = status == StatusCode::SWITCHING_PROTOCOLS && asked.websocket;
    let chunked = head.headers.contains_key(header::TRANSFER_ENCODING);
    strip_hop_by_hop(head);
    if tunnel {
        set(head, header::CONNECTION, "Upgrade");
        set(head, header::UPGRADE, "websocket");
        head.remove_header(&header::CONTENT_LENGTH);
        return Ok(Ends::Tunnel);
    }
    if status.is_informational() {
        return Ok(Ends::Interim);
    }
    let mut lengths = head.headers.get_all(header::CONTENT_LENGTH).iter();
    let length = match (lengths.next(), lengths.next()) {
        _ if chunked => None,
        (None, _) => None,
        (Some(one), None) => Some(content_length(one.as_bytes()).ok_or(BadLength)?),
        (Some(_), Some(_)) => return Err(BadLength),
    };
    if status == StatusCode::NO_CONTENT || chunked {
        head.remove_header(&header::CONTENT_LENGTH);
    }
    let bodiless =
        asked.head || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    Ok(match length {
        _ if bodiless => Ends::Bodiless,
        Some(0) => Ends::Bodiless,
        Some(length) => Ends::Length(length),
        None if end => {
            set(head, header::CONTENT_LENGTH, "0");
            Ends::Bodiless
        }
        None if asked.http11 => {
            set(head, header::TRANSFER_ENCODING, "chunked");
            Ends::Chunked
        }
        None => Ends::Close,
    })
}

fn strip_hop_by_hop(head: &mut ResponseHeader) {
    // The names are copied out only when there are any beyond the usual ones.
    let usual = |name: &[u8]| {
        [&b"close"[..], b"keep-alive", b"upgrade"]
            .iter()
            .any(|one| name.eq_ignore_ascii_case(one))
    };
    let nominated: Vec<HeaderName> = head
        .headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|name| !usual(name))
        .filter_map(|name| HeaderName::from_bytes(name).ok())
        .collect();
    for name in HOP_BY_HOP.iter().chain(&nominated) {
        head.remove_header(name);
    }
}

fn set(head: &mut ResponseHeader, name: HeaderName, value: &'static str) {
    let set = head.insert_header(name, HeaderValue::from_static(value));
    debug_assert!(set.is_ok(), "name and value are valid");
}

/// Writes a head. `connection` is the value of the Connection header; none writes none.
pub(super) fn write_head(
    out: &mut Vec<u8>,
    head: &ResponseHeader,
    connection: Option<&'static str>,
) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(head.status.as_str().as_bytes());
    out.push(b' ');
    let reason = head.get_reason_phrase().unwrap_or_default();
    out.extend_from_slice(reason.as_bytes());
    out.extend_from_slice(b"\r\n");
    let is_final = !head.status.is_informational();
    if is_final && !head.headers.contains_key(header::DATE) {
        out.extend_from_slice(b"Date: ");
        out.extend_from_slice(get_cached_date().as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    if let Some(connection) = connection {
        out.extend_from_slice(b"Connection: ");
        out.extend_from_slice(connection.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    head.header_to_h1_wire(out);
    out.put_slice(b"\r\n");
}

/// Writes a chunk's size line.
pub(super) fn write_chunk_size(out: &mut Vec<u8>, size: usize) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = (usize::BITS - size.leading_zeros()).div_ceil(4).max(1);
    for digit in (0..digits).rev() {
        out.push(DIGITS[size >> (digit * 4) & 15]);
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET: Asked = Asked {
        head: false,
        http11: true,
        websocket: false,
    };

    fn framed(
        status: u16,
        headers: &[(&'static str, &'static str)],
        asked: Asked,
    ) -> (Result<Ends, BadLength>, ResponseHeader) {
        let mut head = ResponseHeader::build(status, None).unwrap();
        for (name, value) in headers {
            head.append_header(*name, *value).unwrap();
        }
        let ends = frame(&mut head, false, asked);
        (ends, head)
    }

    #[test]
    fn answers_end_where_the_client_can_tell() {
        let old = Asked {
            http11: false,
            ..GET
        };
        let head = Asked { head: true, ..GET };
        let length = [("content-length", "5")];
        let chunked = [("transfer-encoding", "chunked"), ("content-length", "7")];
        for (status, headers, asked, expected) in [
            (200, &length[..], GET, Ok(Ends::Length(5))),
            (200, &[], GET, Ok(Ends::Chunked)),
            (200, &chunked, GET, Ok(Ends::Chunked)),
            (200, &chunked, old, Ok(Ends::Close)),
            (200, &length, head, Ok(Ends::Bodiless)),
            (304, &length, GET, Ok(Ends::Bodiless)),
            (204, &[], GET, Ok(Ends::Bodiless)),
            (103, &[], GET, Ok(Ends::Interim)),
            (
                101,
                &[],
                Asked {
                    websocket: true,
                    ..GET
                },
                Ok(Ends::Tunnel),
            ),
            (200, &[("content-length", "05")], GET, Err(BadLength)),
            (
                200,
                &[("content-length", "5"), ("content-length", "5")],
                GET,
                Err(BadLength),
            ),
        ] {
            assert_eq!(
                framed(status, headers, asked).0,
                expected,
                "{status} {headers:?}"
            );
        }
    }

    #[test]
    fn what_concerns_the_upstream_connection_stays_there() {
        let headers = [
            ("connection", "close, x-private"),
            ("keep-alive", "timeout=5"),
            ("x-private", "1"),
            ("content-length", "0"),
            ("x-public", "2"),
        ];
        let (_, head) = framed(200, &headers, GET);
        let mut names: Vec<_> = head.headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["content-length", "x-public"]);
    }

    #[test]
    fn sizes_are_hexadecimal() {
        for (size, text) in [
            (0, "0\r\n"),
            (1, "1\r\n"),
            (16, "10\r\n"),
            (0xabcdef, "abcdef\r\n"),
        ] {
            let mut out = Vec::new();
            write_chunk_size(&mut out, size);
            assert_eq!(out, text.as_bytes());
        }
    }
}
