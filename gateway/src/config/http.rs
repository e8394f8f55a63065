//! How listeners speak HTTP, as it is written.

use chassis::config::Located;
use chassis::units::{Period, Size};
use schemars::JsonSchema;
use serde::Deserialize;

/// What the head of an HTTP/1.1 request may measure.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Http1Config {
    /// The longest request line; 414 beyond it.
    pub request_line: Size,
    /// The longest header; 431 beyond it.
    pub header: Size,
    /// The longest head without the request line; 431 beyond it.
    pub headers: Size,
    /// How many headers a request may have; 431 beyond it.
    pub header_count: u16,
}

impl Default for Http1Config {
    fn default() -> Self {
        Self {
            request_line: Size::from_kib(8),
            header: Size::from_kib(16),
            headers: Size::from_kib(64),
            header_count: 100,
        }
    }
}

/// How long a client may take.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TimeoutsConfig {
    /// For the TLS handshake, and before it for the PROXY header.
    pub handshake: Located<Period>,
    /// For the whole head of a request, from its first byte; 408 beyond it.
    pub head: Located<Period>,
    /// Between two pieces of a body; 408 beyond it. Calls of gRPC have the time of a `tunnel`.
    pub body_read: Located<Period>,
    /// How many bytes a second a body must have on average, once `body_read` has passed; 408 below it.
    pub body_rate: Size,
    /// For the whole body; 408 beyond it. No limit when it is not set.
    pub body: Option<Located<Period>>,
    /// For the whole exchange, from the first byte of the head to the last of the answer; 504
    /// beyond it. No limit when it is not set. WebSockets are not concerned.
    pub request: Option<Located<Period>>,
    /// Without a request on a connection that is kept alive, of either version of HTTP.
    pub idle: Located<Period>,
    /// For a client to take a piece of the answer: then the connection ends, or the one response of HTTP/2.
    pub write: Located<Period>,
    /// Without a byte in either direction on a WebSocket, or in a call of gRPC.
    pub tunnel: Located<Period>,
    /// How long what the client still sends is read behind the last answer, so that it sees the answer. It begins anew whenever the client takes some of it or sends something, up to `write` in all.
    pub linger: Located<Period>,
}

impl Default for TimeoutsConfig {
    fn default() -> Self {
        Self {
            handshake: Located::nowhere(Period::from_secs(10)),
            head: Located::nowhere(Period::from_secs(10)),
            body_read: Located::nowhere(Period::from_secs(30)),
            body_rate: Size::from_bytes(500),
            body: None,
            request: None,
            idle: Located::nowhere(Period::from_secs(60)),
            write: Located::nowhere(Period::from_secs(30)),
            tunnel: Located::nowhere(Period::from_secs(3600)),
            linger: Located::nowhere(Period::from_secs(2)),
        }
    }
}

/// What is done with paths that servers read differently.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct PathsConfig {
    /// `.` and `..`: resolve them, or refuse the request with 400.
    pub dot_segments: DotSegments,
    /// `%2F` and `%5C`: refuse the request with 400, or keep them as they are.
    pub encoded_slash: Doubtful,
    /// An escaped percent sign before two hexadecimal digits, such as `%252F`: refuse the request, or keep it.
    pub double_encoding: Doubtful,
    /// Empty segments, as in `//`: merge them, or keep them.
    pub empty_segments: EmptySegments,
}

/// What is done with dot segments.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum DotSegments {
    /// They are resolved; above the root is 400.
    #[default]
    Resolve,
    /// The request is refused.
    Reject,
}

/// What is done with a doubtful escape.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Doubtful {
    /// The request is refused.
    #[default]
    Reject,
    /// It stays as it is: only for upstreams that read it in the same way.
    Keep,
}

/// What is done with empty segments.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum EmptySegments {
    /// They are dropped.
    #[default]
    Merge,
    /// They stay.
    Keep,
}
