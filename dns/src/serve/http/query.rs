//! The query in a request (RFC 8484, 4.1).

use std::pin::pin;
use std::time::Duration;

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use http_body_util::BodyExt as _;
use hyper::body::Body;

/// The media type of messages, both ways.
pub(super) const MESSAGE: &str = "application/dns-message";
/// The longest query, in octets. Usual ones have less than 500, padded ones a multiple of 128; memory is kept for as
/// much on each stream of each connection.
const LONGEST: usize = 4096;
/// So much of a body is read, in octets, for the sake of the client.
const MOST_READ: usize = 256 * 1024;
/// Nobody needs the padding, but some send it.
const BASE64URL: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Why there is no query in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) status: StatusCode,
    pub(super) why: &'static str,
}

const fn refused(status: StatusCode, why: &'static str) -> Refused {
    Refused { status, why }
}

const TOO_LARGE: Refused = refused(
    StatusCode::PAYLOAD_TOO_LARGE,
    "a query has at most 4096 octets",
);

/// Reads the query of a request to `path`; a body must be there within `patience`.
pub(super) async fn read<B>(
    request: Request<B>,
    path: &str,
    patience: Duration,
) -> Result<Bytes, Refused>
where
    B: Body<Data = Bytes>,
{
    if request.uri().path() != path {
        return Err(refused(StatusCode::NOT_FOUND, "queries are not sent here"));
    }
    match *request.method() {
        Method::GET | Method::HEAD => in_uri(request.uri()),
        Method::POST => {
            let head = judge_head(request.headers());
            // A client that still sends does not always see an answer that says why it need not.
            let body = tokio::time::timeout(patience, collect(request.into_body())).await;
            head?;
            body.unwrap_or_else(|_| {
                let why = "the body takes too long";
                Err(refused(StatusCode::REQUEST_TIMEOUT, why))
            })
        }
        _ => Err(refused(
            StatusCode::METHOD_NOT_ALLOWED,
            "queries are sent with GET and POST",
        )),
    }
}

/// Reads a body, and of one that is too long a little more, which is dropped.
async fn collect<B>(body: B) -> Result<Bytes, Refused>
where
    B: Body<Data = Bytes>,
{
    let mut body = pin!(body);
    let mut kept = Vec::new();
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| refused(StatusCode::BAD_REQUEST, "the body is broken"))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        length += data.len();
        if length > MOST_READ {
            break;
        }
        match length <= LONGEST {
            true => kept.extend_from_slice(&data),
            false => kept = Vec::new(),
        }
    }
    match length {
        ..=LONGEST => Ok(kept.into()),
        _ => Err(TOO_LARGE),
    }
}

/// Judges a body by what stands before it.
fn judge_head(headers: &HeaderMap) -> Result<(), Refused> {
    let kind = headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    let kind = kind.and_then(|kind| kind.split(';').next());
    match kind.is_some_and(|kind| kind.trim().eq_ignore_ascii_case(MESSAGE)) {
        true => Ok(()),
        false => Err(refused(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "a query has the content type application/dns-message",
        )),
    }
}

/// The variable `dns` of a GET request.
fn in_uri(uri: &Uri) -> Result<Bytes, Refused> {
    let variables = uri.query().unwrap_or_default().split('&');
    let mut found = variables.filter_map(|variable| variable.strip_prefix("dns="));
    let (Some(text), None) = (found.next(), found.next()) else {
        let why = "the query is in the variable `dns`, once";
        return Err(refused(StatusCode::BAD_REQUEST, why));
    };
    match BASE64URL.decode(text) {
        Ok(query) if query.len() > LONGEST => Err(TOO_LARGE),
        Ok(query) => Ok(query.into()),
        Err(_) => Err(refused(
            StatusCode::BAD_REQUEST,
            "the variable `dns` is not base64url",
        )),
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;

    use super::*;

    const PATH: &str = "/dns-query";
    /// Of RFC 8484, 4.1.1.
    const EXAMPLE: &str = "AAABAAABAAAAAAAAA3d3dwdleGFtcGxlA2NvbQAAAQAB";

    fn outcome(method: &str, uri: &str, kind: Option<&str>, body: &[u8]) -> Result<usize, u16> {
        let mut request = Request::builder().method(method).uri(uri);
        if let Some(kind) = kind {
            request = request.header("content-type", kind);
        }
        let request = request
            .body(Full::new(Bytes::copy_from_slice(body)))
            .unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let read = runtime.block_on(read(request, PATH, Duration::from_secs(1)));
        read.map(|query| query.len())
            .map_err(|refused| refused.status.as_u16())
    }

    #[test]
    fn a_query_is_in_the_variable_or_in_the_body() {
        let with = |text: &str| format!("{PATH}?dns={text}");
        for (uri, expected) in [
            (with(EXAMPLE), Ok(33)),
            (format!("{PATH}?a=b&dns={EXAMPLE}&c"), Ok(33)),
            (with("AAA="), Ok(2)),
            (with(""), Ok(0)),
            (with("AA+A"), Err(400)),
            (with("A"), Err(400)),
            (format!("{PATH}?dns=AAAA&dns=AAAA"), Err(400)),
            (PATH.into(), Err(400)),
            ("/?dns=AAAA".into(), Err(404)),
            (with(&"A".repeat(5460)), Ok(4095)),
            (with(&"A".repeat(5464)), Err(413)),
        ] {
            assert_eq!(outcome("GET", &uri, None, b""), expected, "{uri:.60}");
        }
        let kind = Some(MESSAGE);
        for (method, kind, body, expected) in [
            ("POST", kind, &[0; 33][..], Ok(33)),
            (
                "POST",
                Some("Application/DNS-message; a=b"),
                &[0; 33],
                Ok(33),
            ),
            ("POST", kind, &[0; 4096], Ok(4096)),
            ("POST", kind, &[0; 4097], Err(413)),
            ("POST", kind, &[0; 1_000_000], Err(413)),
            ("POST", Some("application/dns-json"), &[0; 33], Err(415)),
            ("POST", None, &[0; 33], Err(415)),
            ("PUT", kind, &[0; 33], Err(405)),
        ] {
            let found = outcome(method, PATH, kind, body);
            assert_eq!(found, expected, "{method} {kind:?} {}", body.len());
        }
    }
}
