//! Heads in Pingora's terms and in ours.

use std::sync::{Arc, Mutex, PoisonError};

use http::uri::{PathAndQuery, Scheme};
use http::{HeaderName, HeaderValue, Uri};
use pingora_core::{ErrorType, OrErr, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use plugins::{Fields, RequestHead, ResponseHead};

use crate::exchange::Started;

/// A request on its way to Pingora's proxy: it travels with its head.
#[derive(Clone)]
pub(super) struct Handed(Arc<Mutex<Option<Box<Started>>>>);

impl Handed {
    /// The request, once.
    pub(super) fn take(&self) -> Option<Box<Started>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The head by which Pingora's proxy knows a request, which it brings along.
///
/// # Errors
/// When it is beyond what Pingora's can hold; the request stays where it is.
pub(crate) fn hand_over(started: &mut Option<Box<Started>>) -> Result<Box<RequestHeader>> {
    let Some(request) = started.as_ref() else {
        return Err(pingora_core::Error::new_in(ErrorType::InternalError));
    };
    let mut head = to_pingora(&request.head)?;
    let handed = Handed(Arc::new(Mutex::new(started.take())));
    head.extensions_mut().insert(handed);
    Ok(head)
}

fn to_pingora(ours: &RequestHead) -> Result<Box<RequestHeader>> {
    let room = Some(ours.fields().len() + 2);
    let method = ours.method().clone();
    let mut head = RequestHeader::build_no_case(method, ours.target().as_bytes(), room)?;
    head.set_version(ours.version());
    if let Some(authority) = ours.authority() {
        let path: PathAndQuery = ours
            .target()
            .parse()
            .or_err(ErrorType::InvalidHTTPHeader, "the target")?;
        let uri = Uri::builder()
            .scheme(Scheme::HTTP)
            .authority(authority)
            .path_and_query(path)
            .build()
            .or_err(ErrorType::InvalidHTTPHeader, "the authority")?;
        head.set_uri(uri);
    }
    for header in headers(ours.fields()) {
        let (name, value) = header?;
        head.append_header(name, value)?;
    }
    Ok(Box::new(head))
}

/// An answer's head in our terms.
pub(crate) fn from_pingora(theirs: &ResponseHeader) -> ResponseHead {
    let mut head = ResponseHead::new(theirs.status);
    if let Some(reason) = theirs.get_reason_phrase() {
        head.set_reason(reason);
    }
    for (name, value) in &theirs.headers {
        head.add_header(name, value.clone());
    }
    head
}

/// An answer's head in Pingora's terms.
///
/// # Errors
/// When it is beyond what Pingora's can hold.
pub(crate) fn answer_to_pingora(ours: &ResponseHead) -> Result<ResponseHeader> {
    let mut head = ResponseHeader::build_no_case(ours.status(), Some(ours.fields().len()))?;
    head.set_reason_phrase(Some(ours.reason()))?;
    for header in headers(ours.fields()) {
        let (name, value) = header?;
        head.append_header(name, value)?;
    }
    Ok(head)
}

fn headers(fields: &Fields) -> impl Iterator<Item = Result<(HeaderName, HeaderValue)>> {
    let malformed = ErrorType::InvalidHTTPHeader;
    fields.raw().map(move |(name, value)| {
        let name = HeaderName::from_bytes(name).or_err(malformed.clone(), "a name")?;
        let value = HeaderValue::from_bytes(value).or_err(malformed.clone(), "a value")?;
        Ok((name, value))
    })
}
