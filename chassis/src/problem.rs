//! Error bodies: RFC 9457 problem details, the same from every role.

use serde::Serialize;

/// The media type of a problem body.
pub const CONTENT_TYPE: &str = "application/problem+json";

/// An RFC 9457 problem. What it says reaches clients: no secrets, no internals.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct Problem {
    /// `urn:tidegate:problem:<kind>`: stable, for programs.
    #[serde(rename = "type", serialize_with = "urn")]
    pub kind: &'static str,
    /// One line for people, the same for every problem of this kind.
    pub title: &'static str,
    /// The HTTP status code.
    pub status: u16,
    /// What is wrong this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The request's id, to find it in the logs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

impl Problem {
    /// A problem with an HTTP status, a stable kind (kebab-case) and a title.
    pub const fn new(status: u16, kind: &'static str, title: &'static str) -> Self {
        Self {
            kind,
            title,
            status,
            detail: None,
            request_id: None,
        }
    }

    /// Says what is wrong this time.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Adds the id of the request.
    #[must_use]
    pub fn request_id(mut self, id: impl Into<String>) -> Self {
        self.request_id = Some(id.into());
        self
    }

    /// The body, as JSON.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a problem is strings and a number")
    }
}

fn urn<S: serde::Serializer>(kind: &&'static str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("urn:tidegate:problem:{kind}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn body_is_rfc_9457() {
        let body = Problem::new(429, "rate-limited", "Too many requests")
            .detail("try again in 3 s")
            .request_id("r1")
            .to_json();
        assert_eq!(
            String::from_utf8(body).unwrap(),
            r#"{"type":"urn:tidegate:problem:rate-limited","title":"Too many requests","status":429,"detail":"try again in 3 s","request_id":"r1"}"#
        );
    }
}
