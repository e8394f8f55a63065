//! What a client has seen already. It is told with each answer to a change, and a client that says it again with its next requests
//! does not see the change undone, whichever replica or process is asked.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponseParts, ResponseParts};
use store::Position;

/// The header, in requests and answers.
pub(super) const SEEN: HeaderName = HeaderName::from_static("tidegate-seen");

/// What a client has seen: `VERSION;POSITION`. Not signed: whoever claims more than was there has it read from the primary.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// The version of its own profile; 0 when it has seen none.
    pub(super) profile: u64,
    /// How far the shard of its user was.
    pub(super) position: Position,
}

impl Seen {
    /// A change at a position, and the version of the profile that it made.
    pub(super) fn new(profile: i64, position: Position) -> Self {
        Self {
            profile: profile.try_into().unwrap_or(0),
            position,
        }
    }

    /// The same profile, at a later position of its shard.
    pub(super) fn at(&self, position: Position) -> Self {
        Self {
            profile: self.profile,
            position,
        }
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{};{}", self.profile, self.position)
    }
}

impl FromStr for Seen {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (profile, position) = text.split_once(';').ok_or(())?;
        Ok(Self {
            profile: profile.parse().map_err(drop)?,
            position: position.parse().map_err(drop)?,
        })
    }
}

impl<S: Sync> FromRequestParts<S> for Seen {
    type Rejection = Infallible;

    /// What makes no sense has no effect.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let header = parts.headers.get(SEEN);
        let text = header.and_then(|value| value.to_str().ok());
        Ok(text.and_then(|text| text.parse().ok()).unwrap_or_default())
    }
}

impl IntoResponseParts for Seen {
    type Error = Infallible;

    fn into_response_parts(self, mut parts: ResponseParts) -> Result<ResponseParts, Infallible> {
        if let Ok(value) = HeaderValue::try_from(self.to_string()) {
            parts.headers_mut().insert(SEEN, value);
        }
        Ok(parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_back_and_nothing_else_does() {
        for text in ["0;", "7;1.0-1-42", "1;latest"] {
            assert_eq!(text.parse::<Seen>().unwrap().to_string(), text);
        }
        for text in ["", "7", "x;", "-1;", "7;1", "7;1.0-1-42' OR 1"] {
            assert_eq!(text.parse::<Seen>(), Err(()), "{text}");
        }
    }
}
