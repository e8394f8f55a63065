//! The response to a request.

use bytes::Bytes;
use chassis::problem::{CONTENT_TYPE as PROBLEM, Problem};
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Body as _;

use super::query::{MESSAGE, Refused};
use crate::answer::age;

/// With the answer to a query. `differs` is whether other clients may get another.
pub(super) fn with_answer(answer: &[u8], differs: bool) -> Response<Full<Bytes>> {
    // It may be kept no longer than what is in it (RFC 8484, 5.1), and only by whom it was made for.
    let kept = match (age(answer), differs) {
        (None | Some(0), _) => "no-store".to_owned(),
        (Some(age), true) => format!("private, max-age={age}"),
        (Some(age), false) => format!("max-age={age}"),
    };
    let mut response = Response::new(Full::new(Bytes::copy_from_slice(answer)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(MESSAGE));
    if let Ok(kept) = HeaderValue::try_from(kept) {
        headers.insert(CACHE_CONTROL, kept);
    }
    response
}

/// The same without its body, which hyper would send over HTTP/2 also to who has asked for the head alone.
pub(super) fn head(mut response: Response<Full<Bytes>>) -> Response<Full<Bytes>> {
    let length = response.body().size_hint().exact();
    let headers = response.headers_mut();
    headers.extend(length.map(|length| (CONTENT_LENGTH, HeaderValue::from(length))));
    *response.body_mut() = Full::default();
    response
}

/// Without one.
pub(super) fn refusal(refused: Refused) -> Response<Full<Bytes>> {
    let Refused { status, why } = refused;
    let problem = Problem::new(status.as_u16(), "dns-query", "No DNS query").detail(why);
    let mut response = Response::new(Full::new(problem.to_json().into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD, POST"));
    }
    response
}
