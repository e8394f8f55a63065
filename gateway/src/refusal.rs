//! Why a request is refused: each reason has a label for metrics and logs, a status, and words for the client.

use chassis::problem::Problem;
use http::StatusCode;

/// A reason to refuse what a client sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Refusal {
    /// The request line is longer than the limit.
    RequestLineTooLong,
    /// A header is longer than the limit.
    HeaderTooLong,
    /// All headers together are longer than the limit.
    HeadersTooLong,
    /// More headers than the limit.
    TooManyHeaders,
    /// The body is longer than the limit.
    BodyTooLong,
    /// The head did not arrive in time.
    SlowHead,
    /// The body did not arrive in time, or too slowly.
    SlowBody,
    /// The client did not read the answer in time.
    SlowReader,
    /// The whole exchange took too long.
    SlowExchange,
    /// A line ends with LF alone, or holds a CR.
    BareLineEnd,
    /// A control character, NUL included.
    ControlCharacter,
    /// The request line has not the form `METHOD TARGET VERSION`.
    RequestLine,
    /// The method is no token.
    Method,
    /// The target has no known form, or bytes that no target may have.
    Target,
    /// The version is no HTTP version.
    Version,
    /// A version that is not spoken.
    VersionUnknown,
    /// A header line without a colon, or with an invalid name.
    HeaderName,
    /// A space before the colon.
    SpaceBeforeColon,
    /// A header that goes on in the next line (RFC 9112, section 5.2).
    FoldedHeader,
    /// No Host, or an empty one.
    HostMissing,
    /// More than one Host.
    SeveralHosts,
    /// The Host is no host and port, or not the one of the target.
    Host,
    /// Both Content-Length and Transfer-Encoding.
    LengthAndEncoding,
    /// The Content-Length is not one plain number.
    ContentLength,
    /// The Transfer-Encoding is not `chunked` alone.
    TransferEncoding,
    /// A transfer coding that is not spoken.
    TransferCodingUnknown,
    /// The chunked body is malformed.
    Chunk,
    /// A trailer is malformed.
    Trailer,
    /// The Connection header names a header that must not be dropped.
    ConnectionHeader,
    /// An expectation other than `100-continue`.
    Expectation,
    /// A method that is not spoken: CONNECT, or `OPTIONS *`.
    MethodUnknown,
    /// The body ended before it was complete.
    BodyIncomplete,
    /// The path has an escape that is not `%` and two hexadecimal digits.
    PathEscape,
    /// The path has an escaped slash or backslash, or a backslash.
    PathSlash,
    /// The path has an escaped control character.
    PathControl,
    /// The path leads above the root.
    PathAboveRoot,
    /// The path has dot segments, and the listener's policy is to refuse them.
    PathDots,
    /// The path has an escape that is escaped itself.
    PathDoubleEscape,
    /// The PROXY header is malformed, or did not come in time.
    ProxyHeader,
    /// The PROXY header is missing, or comes from a peer that is not trusted.
    ProxyHeaderMissing,
}

impl Refusal {
    /// Every reason, by its number.
    pub const ALL: [Self; 40] = [
        Self::RequestLineTooLong,
        Self::HeaderTooLong,
        Self::HeadersTooLong,
        Self::TooManyHeaders,
        Self::BodyTooLong,
        Self::SlowHead,
        Self::SlowBody,
        Self::SlowReader,
        Self::SlowExchange,
        Self::BareLineEnd,
        Self::ControlCharacter,
        Self::RequestLine,
        Self::Method,
        Self::Target,
        Self::Version,
        Self::VersionUnknown,
        Self::HeaderName,
        Self::SpaceBeforeColon,
        Self::FoldedHeader,
        Self::HostMissing,
        Self::SeveralHosts,
        Self::Host,
        Self::LengthAndEncoding,
        Self::ContentLength,
        Self::TransferEncoding,
        Self::TransferCodingUnknown,
        Self::Chunk,
        Self::Trailer,
        Self::ConnectionHeader,
        Self::Expectation,
        Self::MethodUnknown,
        Self::BodyIncomplete,
        Self::PathEscape,
        Self::PathSlash,
        Self::PathControl,
        Self::PathAboveRoot,
        Self::PathDots,
        Self::PathDoubleEscape,
        Self::ProxyHeader,
        Self::ProxyHeaderMissing,
    ];

    /// The status to answer with.
    pub fn status(self) -> u16 {
        match self {
            Self::RequestLineTooLong => 414,
            Self::HeaderTooLong | Self::HeadersTooLong | Self::TooManyHeaders => 431,
            Self::BodyTooLong => 413,
            Self::SlowHead | Self::SlowBody | Self::SlowReader => 408,
            Self::SlowExchange => 504,
            Self::VersionUnknown => 505,
            Self::TransferCodingUnknown | Self::MethodUnknown => 501,
            Self::Expectation => 417,
            _ => 400,
        }
    }

    /// The reason with this label.
    pub(crate) fn labelled(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.label() == label)
    }

    /// What the client gets.
    pub(crate) fn problem(self) -> Problem {
        let status = self.status();
        let kind = match status {
            408 => "request-timeout",
            413 => "body-too-large",
            414 | 431 => "head-too-large",
            501 | 505 => "not-implemented",
            504 => "timeout",
            _ => "bad-request",
        };
        let title = StatusCode::from_u16(status).ok();
        let title = title.and_then(|status| status.canonical_reason());
        Problem::new(status, kind, title.unwrap_or("Error")).detail(self.detail())
    }

    /// The label in metrics and logs.
    pub fn label(self) -> &'static str {
        self.texts().0
    }

    /// What the client is told.
    pub fn detail(self) -> &'static str {
        self.texts().1
    }

    fn texts(self) -> (&'static str, &'static str) {
        match self {
            Self::RequestLineTooLong => ("request_line_too_long", "the request line is too long"),
            Self::HeaderTooLong => ("header_too_long", "a header is too long"),
            Self::HeadersTooLong => ("headers_too_long", "the headers are too long"),
            Self::TooManyHeaders => ("too_many_headers", "there are too many headers"),
            Self::BodyTooLong => ("body_too_long", "the body is too long"),
            Self::SlowHead => ("slow_head", "the head took too long"),
            Self::SlowBody => ("slow_body", "the body took too long"),
            Self::SlowReader => ("slow_reader", "the answer was not read in time"),
            Self::SlowExchange => ("slow_exchange", "the request took too long"),
            Self::BareLineEnd => ("bare_line_end", "a line must end with CR LF"),
            Self::ControlCharacter => ("control_character", "a control character"),
            Self::RequestLine => ("request_line", "the request line is malformed"),
            Self::Method => ("method", "the method is malformed"),
            Self::Target => ("target", "the target is malformed"),
            Self::Version => ("version", "the version is malformed"),
            Self::VersionUnknown => ("version_unknown", "HTTP/1.0 and HTTP/1.1 are spoken here"),
            Self::HeaderName => ("header_name", "a header is malformed"),
            Self::SpaceBeforeColon => ("space_before_colon", "a space before a colon"),
            Self::FoldedHeader => ("folded_header", "a header must not go on in the next line"),
            Self::HostMissing => ("host_missing", "the Host header is missing"),
            Self::SeveralHosts => ("several_hosts", "more than one Host header"),
            Self::Host => ("host", "the Host header is malformed or not the target's"),
            Self::LengthAndEncoding => (
                "length_and_encoding",
                "both Content-Length and Transfer-Encoding",
            ),
            Self::ContentLength => ("content_length", "the Content-Length is malformed"),
            Self::TransferEncoding => ("transfer_encoding", "the Transfer-Encoding is malformed"),
            Self::TransferCodingUnknown => (
                "transfer_coding_unknown",
                "the one transfer coding that is spoken is `chunked`",
            ),
            Self::Chunk => ("chunk", "the chunked body is malformed"),
            Self::Trailer => ("trailer", "a trailer is malformed"),
            Self::ConnectionHeader => (
                "connection_header",
                "the Connection header names a header that must not be dropped",
            ),
            Self::Expectation => ("expectation", "the expectation cannot be met"),
            Self::MethodUnknown => ("method_unknown", "the method is not supported here"),
            Self::BodyIncomplete => ("body_incomplete", "the body ended too early"),
            Self::PathEscape => ("path_escape", "the path has a malformed percent escape"),
            Self::PathSlash => ("path_slash", "the path has an escaped slash or a backslash"),
            Self::PathControl => ("path_control", "the path has a control character"),
            Self::PathAboveRoot => ("path_above_root", "the path leads above the root"),
            Self::PathDots => ("path_dots", "the path has dot segments"),
            Self::PathDoubleEscape => (
                "path_double_escape",
                "the path has a doubly escaped character",
            ),
            Self::ProxyHeader => ("proxy_header", "the PROXY header is malformed"),
            Self::ProxyHeaderMissing => ("proxy_header_missing", "the PROXY header is missing"),
        }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.detail())
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_reason_stands_at_its_number_and_has_a_label_of_its_own() {
        let mut labels = HashSet::new();
        for (number, reason) in Refusal::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, number);
            assert!(labels.insert(reason.label()), "{}", reason.label());
            assert!((400..600).contains(&reason.status()));
        }
    }
}
