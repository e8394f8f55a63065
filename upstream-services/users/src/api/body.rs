//! JSON bodies, with refusals that name the field and never repeat a value.

use std::time::Duration;

use axum::body::HttpBody;
use axum::extract::{FromRequest, Request};
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::{DeserializeOwned, IgnoredAny};
use tokio::time::timeout;

use super::BODY_LIMIT;
use crate::Error;

/// How long a body may take to arrive, of 64 KiB at most.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// A JSON body: 415 unless it is declared as JSON and not compressed, 413 if it is (or says it is) too large, 408 if it does not come in
/// [`PATIENCE`], 400 if it is no JSON, 422 if a field is unknown, missing or of the wrong type.
pub(crate) struct Json<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Error;

    async fn from_request(request: Request, _: &S) -> Result<Self, Error> {
        if !declared_as_json(&request) {
            return Err(Error::UnsupportedMediaType);
        }
        if is_coded(&request) {
            return Err(Error::UnsupportedEncoding);
        }
        // Not a byte of it is asked for: who waits for `100 Continue` (RFC 9110, section 10.1.1) need not send it.
        if request.body().size_hint().lower() > BODY_LIMIT as u64 {
            return Err(Error::TooLarge);
        }
        let body = Limited::new(request.into_body(), BODY_LIMIT).collect();
        let body = timeout(PATIENCE, body).await;
        let body = body.map_err(|_| Error::SlowBody)?;
        let body = body.map_err(|error| match error.is::<LengthLimitError>() {
            true => Error::TooLarge,
            false => Error::Malformed("the body could not be read".to_owned()),
        })?;
        parse(&body.to_bytes()).map(Self)
    }
}

fn declared_as_json(request: &Request) -> bool {
    let declared = request.headers().get(CONTENT_TYPE);
    let declared = declared
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let essence = declared.split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("application/json")
}

/// Whether the body is compressed, or whatever else was done to it.
fn is_coded(request: &Request) -> bool {
    let codings = request.headers().get_all(CONTENT_ENCODING).into_iter();
    let mut codings = codings.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    codings.any(|coding| {
        let coding = coding.trim_ascii();
        !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity")
    })
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    // First the whole text: whether it is JSON must not depend on what comes first in it.
    serde_json::from_slice::<IgnoredAny>(bytes).map_err(|e| Error::Malformed(e.to_string()))?;
    let mut json = serde_json::Deserializer::from_slice(bytes);
    serde_path_to_error::deserialize(&mut json)
        .map_err(|error| refusal(&error.path().to_string(), error.inner()))
}

fn refusal(path: &str, error: &serde_json::Error) -> Error {
    let text = error.to_string();
    // Of serde's messages only these are without a value of the client's.
    for (start, why) in [
        ("unknown field `", "there is no such field"),
        ("missing field `", "is missing"),
        ("duplicate field `", "is there twice"),
    ] {
        if let Some(rest) = text.strip_prefix(start) {
            let field = rest.split('`').next().unwrap_or_default();
            return invalid(field, why);
        }
    }
    match path {
        "" | "." => invalid("body", "must be a JSON object"),
        field => invalid(field, "has the wrong type"),
    }
}

fn invalid(field: &str, why: &str) -> Error {
    Error::Invalid {
        field: field.chars().take(64).collect(),
        why: why.to_owned(),
    }
}
