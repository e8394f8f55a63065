//! How an answer is framed for an HTTP/1.x client, and its head as bytes.

use http::{HeaderValue, StatusCode, header};
use pingora_core::protocols::http::date::get_cached_date;
use pingora_core::{Error, ErrorType};
use plugins::ResponseHead;

use super::message::{content_length, options};
use super::request::is_hop_by_hop;

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
pub(crate) struct BadLength;

/// Decides the framing (RFC 9112, section 6) and makes the headers say so; `end` when it is known
/// that no body follows.
///
/// # Errors
/// When the answer's own length is malformed.
pub(super) fn frame(head: &mut ResponseHead, end: bool, asked: Asked) -> Result<Ends, BadLength> {
    let status = head.status();
    let tunnel = status == StatusCode::SWITCHING_PROTOCOLS && asked.websocket;
    let length = end_here(head)?;
    if tunnel {
        head.set_header(&header::CONNECTION, HeaderValue::from_static("Upgrade"));
        head.set_header(&header::UPGRADE, HeaderValue::from_static("websocket"));
        return Ok(Ends::Tunnel);
    }
    if status.is_informational() {
        return Ok(Ends::Interim);
    }
    let bodiless =
        asked.head || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    Ok(match length {
        _ if bodiless => Ends::Bodiless,
        Some(0) => Ends::Bodiless,
        Some(length) => Ends::Length(length),
        None if end => {
            head.set_header(&header::CONTENT_LENGTH, HeaderValue::from_static("0"));
            Ends::Bodiless
        }
        None if asked.http11 => {
            let chunked = HeaderValue::from_static("chunked");
            head.set_header(&header::TRANSFER_ENCODING, chunked);
            Ends::Chunked
        }
        None => Ends::Close,
    })
}

/// Removes what concerns the upstream's connection alone, and a length where there is no body or it is
/// chunked; the length that stays.
///
/// # Errors
/// When the length is malformed.
pub(crate) fn end_here(head: &mut ResponseHead) -> Result<Option<u64>, BadLength> {
    let stated = stated(head)?;
    if stated.ends_here {
        strip(head);
    }
    let status = head.status();
    let none = status.is_informational() || status == StatusCode::NO_CONTENT;
    if stated.length.is_some() && (none || stated.chunked) {
        head.remove_header(&header::CONTENT_LENGTH);
        return Ok(None);
    }
    Ok(stated.length)
}

/// The error of an answer with a malformed length.
pub(crate) fn malformed_length() -> Box<Error> {
    Error::explain(ErrorType::InvalidHTTPHeader, "a malformed Content-Length").into_up()
}

/// What a head says of its framing.
#[derive(Default)]
struct Stated {
    chunked: bool,
    length: Option<u64>,
    /// It has headers that concern the upstream's connection alone.
    ends_here: bool,
}

fn stated(head: &ResponseHead) -> Result<Stated, BadLength> {
    let mut stated = Stated::default();
    let mut lengths = 0;
    let mut length = None;
    for (name, value) in head.fields().raw() {
        match name.len() {
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                lengths += 1;
                length = Some(value);
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                stated.chunked = true;
                stated.ends_here = true;
            }
            _ => stated.ends_here |= is_hop_by_hop(name),
        }
    }
    if let Some(text) = length {
        stated.length = content_length(text);
        let sound = lengths == 1 && stated.length.is_some();
        if !sound && !stated.chunked {
            return Err(BadLength);
        }
        stated.length = stated.length.or(Some(0));
    }
    Ok(stated)
}

/// Removes what concerns the upstream's connection alone (RFC 9110, section 7.6.1).
fn strip(head: &mut ResponseHead) {
    // The names are copied out only when there are any beyond the usual ones. The length frames the
    // answer, whatever an upstream says.
    let usual = |name: &&[u8]| {
        [&b"close"[..], b"keep-alive", b"upgrade", b"content-length"]
            .iter()
            .any(|one| name.eq_ignore_ascii_case(one))
    };
    let nominated: Vec<Vec<u8>> = head
        .header_all(&header::CONNECTION)
        .flat_map(|value| options(value.as_bytes()))
        .filter(|name| !usual(name))
        .map(<[u8]>::to_vec)
        .collect();
    head.fields_mut().retain(|name, _| {
        !is_hop_by_hop(name)
            && !name.eq_ignore_ascii_case(b"transfer-encoding")
            && !nominated.iter().any(|one| one.eq_ignore_ascii_case(name))
    });
}

/// Room for most heads with a small body.
const HEAD: usize = 1 << 10;

/// Writes a head. `connection` is the value of the Connection header; none writes none.
pub(super) fn write_head(out: &mut Vec<u8>, head: &ResponseHead, connection: Option<&'static str>) {
    out.reserve(HEAD);
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(head.status().as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(head.reason_bytes());
    out.extend_from_slice(b"\r\n");
    let mut dated = head.status().is_informational();
    head.fields().write_lines(out, |name, _| {
        dated |= name.len() == 4 && name.eq_ignore_ascii_case(b"date");
        true
    });
    if !dated {
        line(out, b"Date", get_cached_date().as_bytes());
    }
    if let Some(connection) = connection {
        line(out, b"Connection", connection.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes a header.
pub(crate) fn line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
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
    ) -> (Result<Ends, BadLength>, ResponseHead) {
        let mut head = ResponseHead::new(StatusCode::from_u16(status).unwrap());
        for (name, value) in headers {
            let name = http::HeaderName::from_static(name);
            head.add_header(&name, HeaderValue::from_static(value));
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
        let names: Vec<_> = head.headers().map(|(name, _)| name).collect();
        assert_eq!(names, ["content-length", "x-public"]);
    }

    #[test]
    fn the_length_stays_where_it_frames_the_answer_and_nowhere_else() {
        let nominated = [("connection", "content-length"), ("content-length", "2")];
        let chunked = [("content-length", "3"), ("transfer-encoding", "chunked")];
        let plain = [("content-length", "4")];
        for (status, headers, expected) in [
            (200, &nominated[..], Some(2)),
            (200, &chunked, None),
            (204, &plain, None),
            (103, &plain, None),
            (304, &plain, Some(4)),
        ] {
            let mut head = ResponseHead::new(StatusCode::from_u16(status).unwrap());
            for (name, value) in headers {
                let name = http::HeaderName::from_static(name);
                head.add_header(&name, HeaderValue::from_static(value));
            }
            assert_eq!(end_here(&mut head), Ok(expected), "{status} {headers:?}");
            let left = head.header(&header::CONTENT_LENGTH).is_some();
            assert_eq!(left, expected.is_some(), "{status} {headers:?}");
        }
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
