//! What clients see of errors: RFC 9457 problems, each with the request's id.

use std::any::Any;
use std::time::Instant;

use axum::body::Body;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue,
    RETRY_AFTER, WWW_AUTHENTICATE,
};
use axum::response::{IntoResponse, Response};
use chassis::problem::{self, Problem};
use prometheus::IntCounter;

use super::turned_away::TurnedAway;
use crate::Error;

/// What the log says about a 5xx; it never reaches the client.
#[derive(Clone)]
struct Cause {
    error: String,
    /// It is of load, or of something that is away.
    passing: bool,
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let problem = problem_of(&self);
        let status = StatusCode::from_u16(problem.status);
        let mut response = status
            .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
            .into_response();
        let headers = response.headers_mut();
        match &self {
            Self::Unauthenticated { presented } => {
                // RFC 6750, section 3.1: no error code when there was no token.
                let challenge = match presented {
                    true => "Bearer error=\"invalid_token\"",
                    false => "Bearer",
                };
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
            }
            Self::WrongCredentials
            | Self::TotpRequired
            | Self::WrongCode
            | Self::WrongRefreshToken
            | Self::WrongRecoveryToken => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(IN_THE_BODY));
            }
            Self::LockedOut(wait) => {
                let seconds = wait.as_millis().div_ceil(1000).to_string();
                if let Ok(seconds) = HeaderValue::from_str(&seconds) {
                    headers.insert(RETRY_AFTER, seconds);
                }
            }
            // RFC 9110, section 12.5.3: which codings would have been read.
            Self::UnsupportedEncoding => {
                headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
            }
            _ if problem.status == 503 => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
            }
            _ => {}
        }
        // Without a transport it is the operator's choice, not something that went wrong.
        if problem.status >= 500 && problem.status != 501 {
            response.extensions_mut().insert(Cause {
                error: self.to_string(),
                passing: self.is_passing(),
            });
        }
        response.extensions_mut().insert(problem);
        response
    }
}

/// The problem a client sees.
fn problem_of(error: &Error) -> Problem {
    let (status, kind, title) = match error {
        Error::Malformed(_) => (400, "malformed-json", "The body is not valid JSON"),
        Error::UnsupportedMediaType => (415, "unsupported-media-type", "The body must be JSON"),
        Error::UnsupportedEncoding => (
            415,
            "unsupported-media-type",
            "The body must not be compressed",
        ),
        Error::SlowBody => (408, "body-too-slow", "The body took too long"),
        Error::TooLarge => (413, "body-too-large", "The body is too large"),
        Error::Invalid { .. } => (422, "invalid-field", "A field is not valid"),
        Error::Unauthenticated { .. } => (401, "unauthenticated", "A valid access token is needed"),
        Error::WrongCredentials => (401, "wrong-credentials", "Wrong username or password"),
        Error::TotpRequired => (
            401,
            "totp-required",
            "A code of the second factor is needed",
        ),
        Error::WrongCode => (401, "wrong-code", "Wrong code"),
        Error::AccountDisabled => (403, "account-disabled", "The account is disabled"),
        Error::Forbidden => (403, "forbidden", "Not allowed"),
        Error::OwnAccount => (409, "own-account", "Not with one's own account"),
        Error::TotpOn => (409, "totp-on", "A second factor is on already"),
        Error::TotpNotPending => (409, "totp-not-pending", "Nothing waits to be confirmed"),
        Error::LockedOut(_) => (429, "locked-out", "Too many wrong passwords"),
        Error::WrongRefreshToken => (
            401,
            "invalid-refresh-token",
            "The refresh token is not valid",
        ),
        Error::WrongRecoveryToken => (
            401,
            "invalid-recovery-token",
            "The recovery token is not valid",
        ),
        Error::RecoveryOff => (501, "recovery-off", "Accounts cannot be recovered here"),
        Error::Taken => (409, "taken", "A name of the account is taken"),
        Error::NotFound | Error::NoSession => (404, "not-found", "Not found"),
        Error::PreconditionFailed => (412, "precondition-failed", "The profile has changed"),
        Error::Overloaded => (503, "overloaded", "Too many requests at once"),
        Error::NoShard => (503, UNAVAILABLE.0, UNAVAILABLE.1),
        error if error.is_passing() => {
            return Problem::new(503, UNAVAILABLE.0, UNAVAILABLE.1);
        }
        Error::Store(_)
        | Error::Away(_)
        | Error::Contended
        | Error::Config { .. }
        | Error::Keys { .. }
        | Error::Spool { .. }
        | Error::Cache(_)
        | Error::Internal(_) => {
            return internal();
        }
    };
    Problem::new(status, kind, title).detail(error.to_string())
}

fn internal() -> Problem {
    Problem::new(500, "internal", "Something went wrong on our side")
}

/// A handler panicked: this request fails, the next ones do not.
pub(super) fn panicked(panic: Box<dyn Any + Send>, panics: &IntCounter) -> Response {
    panics.inc();
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    let what = text.unwrap_or("no text");
    Error::Internal(format!("a handler panicked: {what}")).into_response()
}

/// Gives every response its request's id, and every error its body.
pub(super) fn finish(
    mut response: Response,
    id: HeaderValue,
    route: &'static str,
    turned_away: &TurnedAway,
) -> Response {
    let status = response.status();
    if status.is_client_error() || status.is_server_error() {
        let id = id.to_str().unwrap_or_default();
        if let Some(cause) = response.extensions_mut().remove::<Cause>() {
            tell(&cause, id, (route, status), turned_away);
        }
        let problem = response.extensions_mut().remove::<Problem>();
        let problem = problem.unwrap_or_else(|| bare(status));
        *response.body_mut() = Body::from(problem.request_id(id).to_json());
        let headers = response.headers_mut();
        headers.remove(CONTENT_LENGTH);
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static(problem::CONTENT_TYPE),
        );
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

/// What the log says: a line for each fault of ours, and a number for what is load.
fn tell(
    cause: &Cause,
    request_id: &str,
    (route, status): (&'static str, StatusCode),
    turned_away: &TurnedAway,
) {
    let (error, status) = (&*cause.error, status.as_u16());
    if !cause.passing {
        tracing::error!(request_id, route, status, error, "request failed");
        return;
    }
    tracing::debug!(request_id, route, status, error, "request turned away");
    if let Some(requests) = turned_away.count(Instant::now()) {
        tracing::warn!(
            requests,
            route,
            status,
            error,
            "requests were turned away; this is the last one's reason"
        );
    }
}

/// The problem of a refusal that came from the router itself.
fn bare(status: StatusCode) -> Problem {
    match status {
        StatusCode::NOT_FOUND => {
            Problem::new(404, "not-found", "Not found").detail("there is nothing at this path")
        }
        StatusCode::METHOD_NOT_ALLOWED => {
            Problem::new(405, "method-not-allowed", "Method not allowed")
                .detail("the Allow header lists the methods of this path")
        }
        status if status.is_client_error() => {
            Problem::new(status.as_u16(), "bad-request", "The request is not valid")
        }
        _ => internal(),
    }
}

/// The client's id if it is short visible ASCII, so that it can go into logs as it is; else a new one.
pub(super) fn request_id(request: &Request) -> HeaderValue {
    let given = request.headers().get(REQUEST_ID);
    let fits = |id: &&HeaderValue| {
        (1..=128).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
    };
    given.filter(fits).cloned().unwrap_or_else(|| {
        let mut text = uuid::Uuid::encode_buffer();
        let fresh = uuid::Uuid::new_v4().hyphenated().encode_lower(&mut text);
        HeaderValue::from_str(fresh).expect("a UUID is hexadecimal digits and hyphens")
    })
}

/// What is busy or away: its kind and title.
const UNAVAILABLE: (&str, &str) = ("unavailable", "The service is busy; try again");
/// The challenge where what somebody is known by stands in a JSON body. A 401 has to have one that applies (RFC 9110, section
/// 15.5.2), and no registered scheme does: `Bearer` would say that a token helps, and for `Basic` browsers ask the user themselves.
/// Clients pass over schemes that they do not know (section 11.6.1).
const IN_THE_BODY: &str = "Tidegate-Body realm=\"tidegate\"";
/// The request's id, from the client or made here.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// One of each that a client can see.
    fn errors() -> Vec<Error> {
        let text = String::new;
        vec![
            Error::Malformed(text()),
            Error::UnsupportedMediaType,
            Error::UnsupportedEncoding,
            Error::SlowBody,
            Error::TooLarge,
            Error::Invalid {
                field: text(),
                why: text(),
            },
            Error::Unauthenticated { presented: true },
            Error::WrongCredentials,
            Error::TotpRequired,
            Error::WrongCode,
            Error::AccountDisabled,
            Error::Forbidden,
            Error::OwnAccount,
            Error::TotpOn,
            Error::TotpNotPending,
            Error::LockedOut(Duration::from_secs(1)),
            Error::WrongRefreshToken,
            Error::WrongRecoveryToken,
            Error::RecoveryOff,
            Error::Taken,
            Error::NotFound,
            Error::NoSession,
            Error::PreconditionFailed,
            Error::Overloaded,
            Error::Away("accounts"),
            Error::Contended,
            Error::NoShard,
            Error::Internal(text()),
        ]
    }

    #[test]
    fn the_document_tells_of_every_status_and_header() {
        let document = crate::api::openapi::as_json();
        let items = document["paths"].as_object().unwrap().values();
        let operations = items.flat_map(|item| item.as_object().unwrap().values());
        let operations: Vec<_> = operations.collect();
        for error in errors() {
            let problem = problem_of(&error);
            let response = error.clone().into_response();
            let status = problem.status.to_string();
            let told = |operation: &serde_json::Value| {
                let headers = operation["responses"][&status]["headers"].as_object();
                headers.is_some_and(|told| {
                    let told: Vec<_> = told.keys().map(|name| name.to_lowercase()).collect();
                    let mut names = response.headers().keys();
                    names.all(|name| told.iter().any(|told| *told == name.as_str()))
                })
            };
            assert!(operations.iter().any(|one| told(one)), "{error:?}");
        }
    }

    #[test]
    fn load_is_no_fault() {
        let is = |error: Error| {
            let response = error.into_response();
            let cause = response.extensions().get::<Cause>();
            cause.map(|cause| cause.passing)
        };
        assert_eq!(is(Error::Overloaded), Some(true));
        assert_eq!(is(Error::Contended), Some(true));
        assert_eq!(is(Error::Away("accounts")), Some(true));
        assert_eq!(is(store::Error::NoIds.into()), Some(true));
        assert_eq!(is(Error::Internal(String::new())), Some(false));
        assert_eq!(is(Error::RecoveryOff), None);
        assert_eq!(is(Error::Taken), None);
    }
}
