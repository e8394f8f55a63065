//! The head of a request or of an answer, split into its lines: strict, and each byte is looked at once.
//!
//! ```text
//! GET /a HTTP/1.1 CRLF          request line: limits, method, target, version
//! HTTP/1.1 200 OK CRLF          or status line: limits, version, status, reason
//! name: value CRLF              fields: limits, token, no space before the colon, no fold, no control
//! CRLF                          the end
//! ```
//!
//! Pure: it sees bytes and says what they are. What the fields mean is `message`'s matter.

use std::ops::Range;

use http::StatusCode;
pub use plugins::Field;

use crate::refusal::Refusal;

/// What a head may measure, in bytes and fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// The request line, without its end.
    pub request_line: usize,
    /// One header line, without its end.
    pub header: usize,
    /// All header lines together.
    pub headers: usize,
    /// The number of header lines.
    pub count: usize,
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self {
            request_line: 8 << 10,
            header: 16 << 10,
            headers: 64 << 10,
            count: 100,
        }
    }
}

/// The request line, as ranges of the bytes of the head.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestLine {
    /// The method.
    pub method: Range<usize>,
    /// The target.
    pub target: Range<usize>,
    /// Whether the version is HTTP/1.1; else it is HTTP/1.0.
    pub http11: bool,
}

/// The status line, its reason as a range of the bytes of the head.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatusLine {
    /// The status.
    pub status: StatusCode,
    /// The words after it.
    pub reason: Range<usize>,
    /// Whether the version is HTTP/1.1; else it is HTTP/1.0.
    pub http11: bool,
}

/// The first line of a head.
pub trait FirstLine: Default {
    /// Empty lines that are ignored before it.
    const BLANK_LINES: u8;

    /// Takes a line apart that holds at least one byte.
    ///
    /// # Errors
    /// The first thing that is wrong.
    fn parse(bytes: &[u8], line: Range<usize>) -> Result<Self, Refusal>;
}

/// Splits the head of a request.
pub type RequestParser = HeadParser<RequestLine>;

/// Splits the head of an answer.
pub type AnswerParser = HeadParser<StatusLine>;

/// Splits a head that arrives in pieces.
#[derive(Debug, Default)]
pub struct HeadParser<L> {
    /// Where the line begins that is not complete yet.
    line: usize,
    /// Up to where no line end was found.
    scanned: usize,
    /// Empty lines before the request line.
    blank: u8,
    /// Where the first header line begins; 0 before the request line is complete.
    fields_start: usize,
    first: L,
    fields: Vec<Field>,
}

/// A head that is complete.
#[derive(Debug)]
pub struct Head<'a, L> {
    /// The bytes that it was read from; the ranges count from their start.
    pub bytes: &'a [u8],
    /// Its first line.
    pub line: &'a L,
    /// Its fields, in order.
    pub fields: &'a [Field],
    /// Its length with the empty line at its end.
    pub len: usize,
}

/// Room for the fields of most heads.
const FIELDS: usize = 16;

impl<L: FirstLine> HeadParser<L> {
    /// Looks at what has arrived; `bytes` begins as in the calls before, and may have grown.
    /// None while more is needed.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn parse<'a>(
        &'a mut self,
        bytes: &'a [u8],
        limits: &HeadLimits,
    ) -> Result<Option<Head<'a, L>>, Refusal> {
        loop {
            let Some(end) = find(bytes, self.scanned, b'\n') else {
                self.judge_unfinished(bytes, limits)?;
                // A CR at the end is looked at again together with what follows it.
                let cr = usize::from(bytes.last() == Some(&b'\r'));
                self.scanned = self.scanned.max(bytes.len() - cr);
                return Ok(None);
            };
            self.scanned = end + 1;
            let line = self.line..end.saturating_sub(1);
            if end == self.line || bytes[end - 1] != b'\r' {
                // A line that is too long is told so, whatever its end.
                self.judge_length(self.line..end, limits)?;
                return Err(Refusal::BareLineEnd);
            }
            self.judge_length(line.clone(), limits)?;
            self.line = end + 1;
            if self.fields_start == 0 {
                self.take_first_line(bytes, line)?;
            } else if line.is_empty() {
                return Ok(Some(self.head(bytes, self.line)));
            } else {
                if self.fields.len() >= limits.count {
                    return Err(Refusal::TooManyHeaders);
                }
                self.fields.push(field(bytes, line)?);
            }
        }
    }

    /// Begins anew, with the head behind the one that is complete.
    pub(crate) fn restart(&mut self) {
        let mut fields = std::mem::take(&mut self.fields);
        fields.clear();
        *self = Self {
            fields,
            ..Self::default()
        };
    }

    /// The head that [`HeadParser::parse`] found complete, over the same bytes in another place.
    pub fn head<'a>(&'a self, bytes: &'a [u8], len: usize) -> Head<'a, L> {
        Head {
            bytes,
            line: &self.first,
            fields: &self.fields,
            len,
        }
    }

    fn take_first_line(&mut self, bytes: &[u8], line: Range<usize>) -> Result<(), Refusal> {
        if line.is_empty() {
            self.blank += 1;
            return match self.blank > L::BLANK_LINES {
                true => Err(Refusal::RequestLine),
                false => Ok(()),
            };
        }
        self.first = L::parse(bytes, line)?;
        self.fields_start = self.line;
        self.fields.reserve(FIELDS);
        Ok(())
    }

    /// Judges the line that has no end yet, so that nobody can send one for ever or wait for a
    /// verdict that is certain.
    fn judge_unfinished(&self, bytes: &[u8], limits: &HeadLimits) -> Result<(), Refusal> {
        let end = bytes.len() - usize::from(bytes.last() == Some(&b'\r'));
        self.judge_length(self.line..end.max(self.line), limits)?;
        match find(&bytes[..end], self.scanned, b'\r') {
            Some(_) => Err(Refusal::BareLineEnd),
            None => Ok(()),
        }
    }

    fn judge_length(&self, line: Range<usize>, limits: &HeadLimits) -> Result<(), Refusal> {
        if self.fields_start == 0 {
            return match line.len() > limits.request_line {
                true => Err(Refusal::RequestLineTooLong),
                false => Ok(()),
            };
        }
        if line.len() > limits.header {
            return Err(Refusal::HeaderTooLong);
        }
        match line.end - self.fields_start > limits.headers {
            true => Err(Refusal::HeadersTooLong),
            false => Ok(()),
        }
    }
}

impl Head<'_, RequestLine> {
    /// The method.
    pub fn method(&self) -> &[u8] {
        &self.bytes[self.line.method.clone()]
    }

    /// The target.
    pub fn target(&self) -> &[u8] {
        &self.bytes[self.line.target.clone()]
    }
}

impl<L> Head<'_, L> {
    /// Names and values, in order.
    pub fn pairs(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let bytes = self.bytes;
        self.fields
            .iter()
            .map(move |field| (&bytes[field.name.clone()], &bytes[field.value.clone()]))
    }
}

/// A header line into name and value; the line holds at least one byte.
pub(super) fn field(bytes: &[u8], line: Range<usize>) -> Result<Field, Refusal> {
    let text = &bytes[line.clone()];
    if text[0] == b' ' || text[0] == b'\t' {
        return Err(Refusal::FoldedHeader);
    }
    let name = text.iter().position(|byte| !is_token(*byte));
    let colon = match name {
        Some(colon) if colon > 0 && text[colon] == b':' => colon,
        Some(at) => return Err(wrong_name(text, at)),
        None => return Err(Refusal::HeaderName),
    };
    let value = trimmed(bytes, line.start + colon + 1..line.end);
    // Without an early end, so that many bytes are looked at at once.
    let text = &bytes[value.clone()];
    if text.iter().fold(false, |bad, byte| bad | !is_value(*byte)) {
        let wrong = text.iter().find(|byte| !is_value(**byte));
        return Err(control(wrong.copied().unwrap_or_default()));
    }
    Ok(Field {
        name: line.start..line.start + colon,
        value,
    })
}

fn wrong_name(text: &[u8], at: usize) -> Refusal {
    let rest = &text[at..];
    let spaces = rest
        .iter()
        .take_while(|byte| matches!(byte, b' ' | b'\t'))
        .count();
    match (at > 0 && spaces > 0, rest.get(spaces)) {
        (true, Some(b':')) => Refusal::SpaceBeforeColon,
        (false, Some(byte)) if byte.is_ascii_control() => control(*byte),
        _ => Refusal::HeaderName,
    }
}

impl FirstLine for RequestLine {
    /// RFC 9112, section 2.2.
    const BLANK_LINES: u8 = 2;

    fn parse(bytes: &[u8], line: Range<usize>) -> Result<Self, Refusal> {
        request_line(bytes, line)
    }
}

impl FirstLine for StatusLine {
    const BLANK_LINES: u8 = 0;

    /// The space after the status may be missing when there is no reason, as from many servers.
    fn parse(bytes: &[u8], line: Range<usize>) -> Result<Self, Refusal> {
        let text = &bytes[line.clone()];
        let (http11, rest) = match text.split_at_checked(9) {
            Some((b"HTTP/1.1 ", rest)) => (true, rest),
            Some((b"HTTP/1.0 ", rest)) => (false, rest),
            _ => return Err(Refusal::Version),
        };
        let (digits, reason) = rest.split_at_checked(3).ok_or(Refusal::RequestLine)?;
        let status = StatusCode::from_bytes(digits).map_err(|_| Refusal::RequestLine)?;
        let spaces = match reason {
            [] => 0,
            [b' ', ..] => 1,
            _ => return Err(Refusal::RequestLine),
        };
        if let Some(wrong) = reason.iter().find(|byte| !is_value(**byte)) {
            return Err(control(*wrong));
        }
        Ok(Self {
            status,
            reason: line.end - reason.len() + spaces..line.end,
            http11,
        })
    }
}

fn request_line(bytes: &[u8], line: Range<usize>) -> Result<RequestLine, Refusal> {
    let text = &bytes[line.clone()];
    if let Some(wrong) = text.iter().find(|byte| byte.is_ascii_control()) {
        return Err(control(*wrong));
    }
    let method = text.iter().position(|byte| *byte == b' ');
    let method = method.ok_or(Refusal::RequestLine)?;
    if method == 0 || !text[..method].iter().all(|byte| is_token(*byte)) {
        return Err(Refusal::Method);
    }
    let rest = &text[method + 1..];
    let target = rest.iter().position(|byte| *byte == b' ');
    let target = target.ok_or(Refusal::RequestLine)?;
    let is_target = |byte: &u8| byte.is_ascii_graphic() && *byte != b'#';
    if target == 0 || !rest[..target].iter().all(is_target) {
        return Err(Refusal::Target);
    }
    let http11 = version(&rest[target + 1..])?;
    let target_start = line.start + method + 1;
    Ok(RequestLine {
        method: line.start..line.start + method,
        target: target_start..target_start + target,
        http11,
    })
}

/// Whether it is HTTP/1.1; else it is HTTP/1.0.
fn version(text: &[u8]) -> Result<bool, Refusal> {
    match text {
        b"HTTP/1.1" => Ok(true),
        b"HTTP/1.0" => Ok(false),
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            Err(Refusal::VersionUnknown)
        }
        _ => Err(Refusal::Version),
    }
}

/// The range without spaces and tabs around it.
fn trimmed(bytes: &[u8], range: Range<usize>) -> Range<usize> {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
    let text = &bytes[range.clone()];
    let before = text.iter().take_while(|byte| is_space(byte)).count();
    let after = text[before..].iter().rev();
    let after = after.take_while(|byte| is_space(byte)).count();
    range.start + before..range.end - after
}

fn control(byte: u8) -> Refusal {
    match byte {
        b'\r' => Refusal::BareLineEnd,
        _ => Refusal::ControlCharacter,
    }
}

fn find(bytes: &[u8], from: usize, wanted: u8) -> Option<usize> {
    memchr::memchr(wanted, bytes.get(from..)?).map(|at| at + from)
}

/// A byte of a token (RFC 9110, section 5.6.2).
pub(super) fn is_token(byte: u8) -> bool {
    TOKEN[usize::from(byte)]
}

/// A byte of a field value: visible, space, tab, or beyond ASCII (RFC 9110, section 5.5).
fn is_value(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

static TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        let is_mark = matches!(
            byte as u8,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        );
        table[byte] = (byte as u8).is_ascii_alphanumeric() || is_mark;
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<Option<usize>, Refusal> {
        let limits = HeadLimits::default();
        let mut parser = RequestParser::default();
        parser
            .parse(text.as_bytes(), &limits)
            .map(|head| head.map(|head| head.len))
    }

    #[test]
    fn a_head_is_split() {
        let text = "\r\nGET /a?b HTTP/1.1\r\nHost:\t h \r\nx-empty:\r\n\r\nrest";
        let mut parser = RequestParser::default();
        let limits = HeadLimits::default();
        let head = parser.parse(text.as_bytes(), &limits).unwrap().unwrap();
        assert_eq!(head.method(), b"GET");
        assert_eq!(head.target(), b"/a?b");
        assert!(head.line.http11);
        let pairs: Vec<_> = head.pairs().collect();
        assert_eq!(pairs, [(&b"Host"[..], &b"h"[..]), (b"x-empty", b"")]);
        assert_eq!(head.len, text.len() - 4);
    }

    #[test]
    fn what_is_wrong_has_a_reason() {
        let fields = |fields: &str| format!("GET / HTTP/1.1\r\n{fields}\r\n");
        for (text, reason) in [
            ("GET / HTTP/1.1\n", Refusal::BareLineEnd),
            ("GET / HT\rTP/1.1\r\n", Refusal::BareLineEnd),
            ("GET /\0 HTTP/1.1\r\n", Refusal::ControlCharacter),
            ("GET  / HTTP/1.1\r\n", Refusal::Target),
            (" GET / HTTP/1.1\r\n", Refusal::Method),
            ("GET /\r\n", Refusal::RequestLine),
            ("GET / HTTP/1.1 \r\n", Refusal::Version),
            ("GET / http/1.1\r\n", Refusal::Version),
            ("GET / HTTP/2.0\r\n", Refusal::VersionUnknown),
            ("GET /#a HTTP/1.1\r\n", Refusal::Target),
            ("GET /é HTTP/1.1\r\n", Refusal::Target),
            ("\r\n\r\n\r\n", Refusal::RequestLine),
            (&fields("a : b\r\n"), Refusal::SpaceBeforeColon),
            (&fields(": b\r\n"), Refusal::HeaderName),
            (&fields("ab\r\n"), Refusal::HeaderName),
            (&fields("a b: c\r\n"), Refusal::HeaderName),
            (&fields("é: c\r\n"), Refusal::HeaderName),
            (&fields("a: b\r\n c\r\n"), Refusal::FoldedHeader),
            (&fields("a: \u{7f}\r\n"), Refusal::ControlCharacter),
            (&fields("a\0: b\r\n"), Refusal::ControlCharacter),
            (&fields("a: b\rc\r\n"), Refusal::BareLineEnd),
            (&fields("a: b\n"), Refusal::BareLineEnd),
            (&fields(&"a: b\r\n".repeat(101)), Refusal::TooManyHeaders),
            (&"a".repeat((8 << 10) + 1), Refusal::RequestLineTooLong),
            (
                &format!("GET / HTTP/1.1\r\n{}", "a".repeat((16 << 10) + 1)),
                Refusal::HeaderTooLong,
            ),
            (
                &fields(&format!("a: {}\r\n", "b".repeat(9_000)).repeat(8)),
                Refusal::HeadersTooLong,
            ),
        ] {
            let start: String = text.chars().take(40).collect();
            assert_eq!(parse(text), Err(reason), "{start:?}");
        }
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(text in "(GET|P) /[a-z]{0,3} HTTP/1.[01]\r?\n([a-z:]{0,3}: ?[a-z\t]{0,3}\r\n){0,3}\r\n", cut in 0usize..60) {
            let bytes = text.as_bytes();
            let limits = HeadLimits::default();
            let mut whole = RequestParser::default();
            let at_once = whole.parse(bytes, &limits).map(|head| head.map(|head| head.len));
            let mut pieces = RequestParser::default();
            let first = pieces.parse(&bytes[..cut.min(bytes.len())], &limits).map(|head| head.map(|head| head.len));
            match first {
                Ok(None) => {
                    let second = pieces.parse(bytes, &limits).map(|head| head.map(|head| head.len));
                    prop_assert_eq!(second, at_once);
                }
                ended => prop_assert_eq!(ended, at_once),
            }
        }

        #[test]
        fn any_bytes_are_judged(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut parser = RequestParser::default();
            let _ = parser.parse(&bytes, &HeadLimits::default());
        }
    }
}
