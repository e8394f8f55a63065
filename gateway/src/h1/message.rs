//! What the fields of a head mean for the message: where its body ends, whether the connection
//! goes on, and whether head and target agree on the host.

use std::net::Ipv6Addr;

use super::head::{Head, RequestLine, is_token};
use crate::refusal::Refusal;

/// Where a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    Empty,
    /// After so many bytes, at least one.
    Length(u64),
    /// With its last chunk.
    Chunked,
}

/// What a head says about its message.
#[derive(Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Where the body ends.
    pub framing: Framing,
    /// Whether the client wants the connection to go on.
    pub keep_alive: bool,
    /// Whether the client waits for 100 before it sends the body.
    pub expects_continue: bool,
    /// Whether the client asks for a WebSocket.
    pub websocket: bool,
    /// The target in origin form: path and query; empty for a path of nothing.
    pub target: &'a [u8],
    /// Host and port of a target in absolute form.
    pub authority: Option<&'a [u8]>,
    /// Headers that the client wants to be dropped (RFC 9110, section 7.6.1).
    pub nominated: Vec<&'a [u8]>,
}

/// Headers that a client must not make us drop: who asks, for whom, and where the body ends.
const PROTECTED: [&[u8]; 5] = [
    b"host",
    b"content-length",
    b"authorization",
    b"cookie",
    b"forwarded",
];

/// Authority if it has one, path and query.
type Target<'a> = (Option<&'a [u8]>, &'a [u8]);

/// What was found while going through the fields.
#[derive(Default)]
struct Seen<'a> {
    host: Option<&'a [u8]>,
    length: Option<&'a [u8]>,
    encodings: Vec<&'a [u8]>,
    close: bool,
    keep_alive: bool,
    upgrade: bool,
    websocket: bool,
    expects_continue: bool,
    nominated: Vec<&'a [u8]>,
}

/// Judges a head.
///
/// # Errors
/// The first thing that is wrong.
pub fn judge<'a>(head: &'a Head<'_, RequestLine>) -> Result<Message<'a>, Refusal> {
    let http11 = head.line.http11;
    let mut seen = Seen::default();
    for (name, value) in head.pairs() {
        seen.take(name, value, http11)?;
    }
    let (authority, target) = target(head, seen.host)?;
    if http11 && seen.host.is_none() {
        return Err(Refusal::HostMissing);
    }
    let framing = framing(&seen, http11)?;
    let plain_get = head.method() == b"GET" && framing == Framing::Empty;
    Ok(Message {
        framing,
        keep_alive: !seen.close && (http11 || seen.keep_alive),
        expects_continue: http11 && seen.expects_continue && framing != Framing::Empty,
        websocket: http11 && seen.upgrade && seen.websocket && plain_get,
        target,
        authority,
        nominated: seen.nominated,
    })
}

impl<'a> Seen<'a> {
    fn take(&mut self, name: &'a [u8], value: &'a [u8], http11: bool) -> Result<(), Refusal> {
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => {
                let before = self.host.replace(value);
                return before.map_or(Ok(()), |_| Err(Refusal::SeveralHosts));
            }
            6 if name.eq_ignore_ascii_case(b"expect") => {
                match value.eq_ignore_ascii_case(b"100-continue") {
                    true => self.expects_continue = true,
                    false if http11 => return Err(Refusal::Expectation),
                    false => {}
                }
            }
            7 if name.eq_ignore_ascii_case(b"upgrade") => {
                self.websocket = value.eq_ignore_ascii_case(b"websocket");
            }
            10 if name.eq_ignore_ascii_case(b"connection") => self.connection(value)?,
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                let before = self.length.replace(value);
                return before.map_or(Ok(()), |_| Err(Refusal::ContentLength));
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => self.encodings.push(value),
            _ => {}
        }
        Ok(())
    }

    fn connection(&mut self, value: &'a [u8]) -> Result<(), Refusal> {
        for option in options(value) {
            if option.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if option.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            } else if option.eq_ignore_ascii_case(b"upgrade") {
                self.upgrade = true;
            } else if !option.iter().all(|byte| is_token(*byte)) || is_protected(option) {
                return Err(Refusal::ConnectionHeader);
            } else {
                self.nominated.push(option);
            }
        }
        Ok(())
    }
}

fn is_protected(name: &[u8]) -> bool {
    const FORWARDED: &[u8] = b"x-forwarded-";
    let start = name.get(..FORWARDED.len());
    start.is_some_and(|start| start.eq_ignore_ascii_case(FORWARDED))
        || PROTECTED.iter().any(|one| name.eq_ignore_ascii_case(one))
}

/// The members of a list, without empty ones (RFC 9110, section 5.6.1).
pub(crate) fn options(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let members = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    members.filter(|member| !member.is_empty())
}

/// Where the body ends (RFC 9112, section 6), without any doubt.
fn framing(seen: &Seen<'_>, http11: bool) -> Result<Framing, Refusal> {
    match (seen.length, seen.encodings.as_slice()) {
        (None, []) => Ok(Framing::Empty),
        (Some(_), [_, ..]) => Err(Refusal::LengthAndEncoding),
        (Some(length), []) => match content_length(length).ok_or(Refusal::ContentLength)? {
            0 => Ok(Framing::Empty),
            length => Ok(Framing::Length(length)),
        },
        (None, [one]) if http11 && one.eq_ignore_ascii_case(b"chunked") => Ok(Framing::Chunked),
        (None, encodings) if http11 => Err(wrong_encoding(encodings)),
        // HTTP/1.0 knows no Transfer-Encoding: where the body ends is anybody's guess.
        (None, _) => Err(Refusal::TransferEncoding),
    }
}

/// A plain number: digits alone, no zero in front, below 2^64.
pub(crate) fn content_length(text: &[u8]) -> Option<u64> {
    let plain = text == b"0" || (text.first() != Some(&b'0') && !text.is_empty());
    if !plain || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    text.iter().try_fold(0u64, |sum, digit| {
        sum.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
    })
}

/// Codings that are registered but not spoken here get 501 (RFC 9112, section 6.1).
fn wrong_encoding(encodings: &[&[u8]]) -> Refusal {
    const REGISTERED: [&[u8]; 5] = [b"gzip", b"x-gzip", b"deflate", b"compress", b"x-compress"];
    let registered = |coding: &[u8]| {
        REGISTERED
            .iter()
            .any(|one| coding.eq_ignore_ascii_case(one))
    };
    let mut some = false;
    let mut chunked = 0;
    for coding in encodings.iter().flat_map(|value| options(value)) {
        match registered(coding) {
            true => some = true,
            false if coding.eq_ignore_ascii_case(b"chunked") => chunked += 1,
            false => return Refusal::TransferEncoding,
        }
    }
    match some && chunked <= 1 {
        true => Refusal::TransferCodingUnknown,
        false => Refusal::TransferEncoding,
    }
}

/// Authority, and path and query of the target (RFC 9112, section 3.2). Its host must be the one
/// of the Host header.
fn target<'a>(head: &'a Head<'_, RequestLine>, host: Option<&[u8]>) -> Result<Target<'a>, Refusal> {
    if let Some(host) = host
        && !is_host(host)
    {
        return Err(if host.is_empty() {
            Refusal::HostMissing
        } else {
            Refusal::Host
        });
    }
    let target = head.target();
    if head.method() == b"CONNECT" {
        return Err(Refusal::MethodUnknown);
    }
    match target {
        [b'/', ..] => Ok((None, target)),
        b"*" if head.method() == b"OPTIONS" => Err(Refusal::MethodUnknown),
        _ => {
            let (tls, rest) = without_scheme(target).ok_or(Refusal::Target)?;
            let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?'));
            let (authority, path) = rest.split_at(end.unwrap_or(rest.len()));
            let port: &[u8] = if tls { b":443" } else { b":80" };
            let plain = |host: &'_ [u8]| host.strip_suffix(port).unwrap_or(host).to_vec();
            let same = |host: &[u8]| plain(host).eq_ignore_ascii_case(&plain(authority));
            match is_host(authority) && host.is_none_or(same) {
                true => Ok((Some(authority), path)),
                false => Err(Refusal::Host),
            }
        }
    }
}

/// Whether the scheme is https, and what follows it.
fn without_scheme(target: &[u8]) -> Option<(bool, &[u8])> {
    [(false, &b"http://"[..]), (true, b"https://")]
        .into_iter()
        .find_map(|(tls, scheme)| {
            let (start, rest) = target.split_at_checked(scheme.len())?;
            start.eq_ignore_ascii_case(scheme).then_some((tls, rest))
        })
}

/// A host, and a port if there is one: names of letters, digits, `-`, `.`, `_`, `~`; addresses.
fn is_host(text: &[u8]) -> bool {
    let (host, rest) = match text.first() {
        Some(b'[') => {
            let Some(end) = text.iter().position(|byte| *byte == b']') else {
                return false;
            };
            let inside = std::str::from_utf8(&text[1..end]).unwrap_or_default();
            (inside.parse::<Ipv6Addr>().is_ok(), &text[end + 1..])
        }
        _ => {
            let end = text.iter().position(|byte| *byte == b':');
            let (host, rest) = text.split_at(end.unwrap_or(text.len()));
            let plain = |byte: &u8| HOST[usize::from(*byte)];
            (!host.is_empty() && host.iter().all(plain), rest)
        }
    };
    host && match rest {
        [] => true,
        [b':', port @ ..] => {
            let digits = port.iter().all(u8::is_ascii_digit);
            let number = std::str::from_utf8(port).unwrap_or_default();
            digits && (port.is_empty() || number.parse::<u16>().is_ok())
        }
        _ => false,
    }
}

/// Bytes of a name (RFC 3986, section 3.2.2, without what no name has).
static HOST: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        let mark = matches!(byte as u8, b'-' | b'.' | b'_' | b'~');
        table[byte] = (byte as u8).is_ascii_alphanumeric() || mark;
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::super::head::{HeadLimits, RequestParser};
    use super::*;

    fn outcome<T>(line: &str, fields: &str, look: impl Fn(Message<'_>) -> T) -> Result<T, Refusal> {
        let text = format!("{line}\r\n{fields}\r\n");
        let mut parser = RequestParser::default();
        let head = parser.parse(text.as_bytes(), &HeadLimits::default())?;
        judge(&head.expect("it is complete")).map(look)
    }

    const GET: &str = "GET / HTTP/1.1";

    #[test]
    fn bodies_end_where_the_head_says() {
        let framing = |fields: &str| {
            outcome(GET, &format!("host: h\r\n{fields}"), |message| {
                message.framing
            })
        };
        assert_eq!(framing(""), Ok(Framing::Empty));
        assert_eq!(framing("content-length: 0\r\n"), Ok(Framing::Empty));
        assert_eq!(framing("content-length: 12\r\n"), Ok(Framing::Length(12)));
        assert_eq!(
            framing("transfer-encoding: CHUNKED\r\n"),
            Ok(Framing::Chunked)
        );
        for value in [
            "05",
            "+5",
            "-5",
            "5, 5",
            "5 5",
            "0x5",
            "",
            "18446744073709551616",
            "99999999999999999999",
        ] {
            let field = format!("content-length: {value}\r\n");
            assert_eq!(framing(&field), Err(Refusal::ContentLength), "{value}");
        }
        for value in [
            "xchunked",
            "chunked, chunked",
            "chunked;q=1",
            "identity",
            "",
            "chunked, x",
        ] {
            let field = format!("transfer-encoding: {value}\r\n");
            assert_eq!(framing(&field), Err(Refusal::TransferEncoding), "{value}");
        }
        let gzip = "transfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n";
        assert_eq!(framing(gzip), Err(Refusal::TransferCodingUnknown));
        let twice = "content-length: 5\r\ncontent-length: 5\r\n";
        assert_eq!(framing(twice), Err(Refusal::ContentLength));
        let both = "content-length: 5\r\ntransfer-encoding: chunked\r\n";
        assert_eq!(framing(both), Err(Refusal::LengthAndEncoding));
    }

    #[test]
    fn connections_go_on_as_both_sides_can() {
        let keep = |line: &str, fields: &str| {
            let fields = format!("host: h\r\n{fields}");
            outcome(line, &fields, |message| message.keep_alive)
        };
        assert_eq!(keep(GET, ""), Ok(true));
        assert_eq!(keep(GET, "connection: x, Close\r\n"), Ok(false));
        assert_eq!(keep("GET / HTTP/1.0", ""), Ok(false));
        assert_eq!(
            keep("GET / HTTP/1.0", "connection: keep-alive\r\n"),
            Ok(true)
        );
        for name in ["host", "X-Forwarded-For", "cookie", "a b"] {
            let field = format!("connection: {name}\r\n");
            assert_eq!(keep(GET, &field), Err(Refusal::ConnectionHeader), "{name}");
        }
    }

    #[test]
    fn target_and_host_agree() {
        let target = |target: &str, host: &str| {
            let line = format!("GET {target} HTTP/1.1");
            let fields = format!("host: {host}\r\n");
            outcome(&line, &fields, |message| {
                String::from_utf8_lossy(message.target).into_owned()
            })
        };
        assert_eq!(target("/a?b", "h"), Ok("/a?b".into()));
        assert_eq!(target("http://h/a", "H:80"), Ok("/a".into()));
        assert_eq!(target("HTTP://h?q", "h"), Ok("?q".into()));
        assert_eq!(target("http://[::1]:8080", "[::1]:8080"), Ok(String::new()));
        assert_eq!(target("http://other/a", "h"), Err(Refusal::Host));
        assert_eq!(target("http://u@h/a", "h"), Err(Refusal::Host));
        assert_eq!(target("a.test:80", "h"), Err(Refusal::Target));
        assert_eq!(target("*", "h"), Err(Refusal::Target));
        for host in ["h/a", "u@h", "h:", "h:70000", "h:a", "[::1", "a,b", ":80"] {
            let expected = if host == "h:" {
                Ok("/".into())
            } else {
                Err(Refusal::Host)
            };
            assert_eq!(target("/", host), expected, "{host}");
        }
        assert_eq!(target("/", ""), Err(Refusal::HostMissing));
        assert_eq!(outcome(GET, "", |_| ()), Err(Refusal::HostMissing));
        assert_eq!(outcome("GET / HTTP/1.0", "", |_| ()), Ok(()));
        let twice = "host: h\r\nhost: h\r\n";
        assert_eq!(outcome(GET, twice, |_| ()), Err(Refusal::SeveralHosts));
    }

    #[test]
    fn only_a_get_asks_for_a_websocket() {
        let asks = |line: &str| {
            let fields = "host: h\r\nconnection: Upgrade\r\nupgrade: WebSocket\r\n";
            outcome(line, fields, |message| message.websocket)
        };
        assert_eq!(asks(GET), Ok(true));
        assert_eq!(asks("POST / HTTP/1.1"), Ok(false));
        assert_eq!(asks("GET / HTTP/1.0"), Ok(false));
    }
}
