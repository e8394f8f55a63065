//! The formats of an access log line. Whatever a client sends, a line stays one line.

use std::any::{Any, TypeId};
use std::cell::RefCell;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

use http::{Version, header};
use jiff::Timestamp;
use jiff::fmt::temporal::DateTimePrinter;

use crate::plugin::Finished;

/// What a line can have beside what every line has.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fields {
    pub(super) query: bool,
    pub(super) tls: bool,
}

/// A JSON object: times in RFC 3339, `duration_ms` with microseconds, absent what is not known.
pub(super) fn json(out: &mut Vec<u8>, finished: &Finished<'_>, now: SystemTime, fields: Fields) {
    let exchange = finished.exchange;
    let request = finished.request;
    out.extend_from_slice(b"{\"time\":\"");
    time(out, now);
    out.push(b'"');
    if !exchange.request_id.is_empty() {
        out.extend_from_slice(br#","request_id":""#);
        out.extend_from_slice(exchange.request_id.as_bytes());
        out.push(b'"');
    }
    if let Some(address) = exchange.client.address {
        out.extend_from_slice(br#","client":""#);
        ip(out, address.ip());
        out.push(b'"');
    }
    text(out, r#","listener":"#, &exchange.client.listener);
    if let Some(session) = exchange.client.session.as_ref().filter(|_| fields.tls) {
        text(out, r#","tls_version":"#, session.version);
        text(out, r#","tls_cipher":"#, session.cipher);
        if let Some(name) = &session.server_name {
            text(out, r#","tls_name":"#, name);
        }
    }
    text(out, r#","method":"#, request.method().as_str());
    if let Some(host) = request.host() {
        text(out, r#","host":"#, host);
    }
    text(out, r#","path":"#, request.path());
    if let Some(query) = request.query().filter(|_| fields.query) {
        text(out, r#","query":"#, query);
    }
    number(out, r#","status":"#, finished.status.into());
    number(out, r#","bytes_received":"#, finished.bytes_received);
    number(out, r#","bytes_sent":"#, finished.bytes_sent);
    milliseconds(out, r#","duration_ms":"#, finished.duration);
    if let Some(route) = &exchange.route {
        text(out, r#","route":"#, route);
    }
    if let Some(upstream) = exchange.upstream {
        out.extend_from_slice(br#","upstream":""#);
        address(out, upstream);
        out.push(b'"');
    }
    if let Some(identity) = &exchange.identity {
        text(out, r#","subject":"#, &identity.subject);
    }
    if let Some(agent) = request.header(&header::USER_AGENT) {
        bytes(out, r#","user_agent":"#, agent.as_bytes());
    }
    if let Some(error) = finished.error {
        text(out, r#","error":"#, error);
    }
    out.push(b'}');
}

/// `client - subject [time] "request line" status bytes "referer" "agent"`, with quotes and control characters escaped.
pub(super) fn combined(out: &mut Vec<u8>, finished: &Finished<'_>, now: SystemTime, query: bool) {
    let request = finished.request;
    let exchange = finished.exchange;
    match exchange.client.address {
        Some(address) => ip(out, address.ip()),
        None => out.push(b'-'),
    }
    out.extend_from_slice(b" - ");
    let subject = exchange
        .identity
        .as_ref()
        .map_or("-", |identity| &identity.subject);
    escaped(out, subject.as_bytes());
    out.extend_from_slice(b" [");
    since_second(out, now, |text, stamp| {
        let _ = write!(text, "{}", stamp.strftime("%d/%b/%Y:%H:%M:%S +0000"));
    });
    out.extend_from_slice(b"] \"");
    escaped(out, request.method().as_str().as_bytes());
    out.push(b' ');
    escaped(out, request.path().as_bytes());
    if let Some(query) = request.query().filter(|_| query) {
        out.push(b'?');
        escaped(out, query.as_bytes());
    }
    out.extend_from_slice(match request.version() {
        Version::HTTP_10 => b" HTTP/1.0\" ",
        Version::HTTP_2 => b" HTTP/2.0\" ",
        _ => b" HTTP/1.1\" ",
    });
    digits(out, finished.status);
    out.push(b' ');
    digits(out, finished.bytes_sent);
    for name in [header::REFERER, header::USER_AGENT] {
        out.extend_from_slice(b" \"");
        let value = request
            .header(&name)
            .map_or(&b"-"[..], |value| value.as_bytes());
        escaped(out, value);
        out.push(b'"');
    }
}

/// RFC 3339 in milliseconds.
fn time(out: &mut Vec<u8>, now: SystemTime) {
    const PRINTER: DateTimePrinter = DateTimePrinter::new().precision(Some(0));
    let since = since_second(out, now, |text, stamp| {
        let _ = PRINTER.print_timestamp(stamp, jiff::fmt::StdIoWrite(&mut *text));
        text.pop(); // the `Z` stands after the milliseconds
    });
    out.push(b'.');
    three_digits(out, since.subsec_millis());
    out.push(b'Z');
}

/// The text of a second; how much later it is. Each thread keeps the text that it wrote last.
fn since_second(
    out: &mut Vec<u8>,
    now: SystemTime,
    write: impl Fn(&mut Vec<u8>, &Timestamp) + 'static,
) -> Duration {
    thread_local! {
        static LAST: RefCell<(u64, TypeId, Vec<u8>)> =
            const { RefCell::new((u64::MAX, TypeId::of::<()>(), Vec::new())) };
    }
    let since = now
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    // Formats differ in what writes them.
    let format = write.type_id();
    LAST.with_borrow_mut(|(second, of, text)| {
        if *second != since.as_secs() || *of != format {
            (*second, *of) = (since.as_secs(), format);
            text.clear();
            let whole = SystemTime::UNIX_EPOCH + Duration::from_secs(*second);
            write(text, &Timestamp::try_from(whole).unwrap_or_default());
        }
        out.extend_from_slice(text);
    });
    since
}

// A line is written for every request: no formatting machinery for what is plain digits, and a
// key is one literal with its punctuation, copied in one go.

fn text(out: &mut Vec<u8>, key: &'static str, value: &str) {
    bytes(out, key, value.as_bytes());
}

#[inline]
fn bytes(out: &mut Vec<u8>, key: &'static str, value: &[u8]) {
    out.extend_from_slice(key.as_bytes());
    let is_special = |byte: u8| byte < 32 || byte == b'"' || byte == b'\\' || byte >= 128;
    // Without stopping at the first: so the compiler can look at many bytes at once.
    if value
        .iter()
        .fold(false, |found, byte| found | is_special(*byte))
    {
        let _ = serde_json::to_writer(out, &String::from_utf8_lossy(value));
        return;
    }
    out.push(b'"');
    out.extend_from_slice(value);
    out.push(b'"');
}

#[inline]
fn number(out: &mut Vec<u8>, key: &'static str, value: u64) {
    out.extend_from_slice(key.as_bytes());
    digits(out, value);
}

fn milliseconds(out: &mut Vec<u8>, key: &'static str, duration: Duration) {
    let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    number(out, key, micros / 1000);
    out.push(b'.');
    three_digits(out, u32::try_from(micros % 1000).unwrap_or(0));
}

fn three_digits(out: &mut Vec<u8>, value: u32) {
    for scale in [100, 10, 1] {
        out.push(b'0' + u8::try_from(value / scale % 10).unwrap_or(0));
    }
}

fn address(out: &mut Vec<u8>, address: SocketAddr) {
    match address {
        SocketAddr::V4(v4) => {
            ip(out, IpAddr::V4(*v4.ip()));
            out.push(b':');
            digits(out, v4.port());
        }
        SocketAddr::V6(v6) => {
            let _ = write!(out, "{v6}");
        }
    }
}

fn ip(out: &mut Vec<u8>, ip: IpAddr) {
    match ip {
        IpAddr::V4(v4) => {
            for (at, octet) in v4.octets().into_iter().enumerate() {
                if at > 0 {
                    out.push(b'.');
                }
                if octet >= 100 {
                    out.push(b'0' + octet / 100);
                }
                if octet >= 10 {
                    out.push(b'0' + octet / 10 % 10);
                }
                out.push(b'0' + octet % 10);
            }
        }
        IpAddr::V6(v6) => {
            let _ = write!(out, "{v6}");
        }
    }
}

fn digits(out: &mut Vec<u8>, value: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

fn escaped(out: &mut Vec<u8>, bytes: &[u8]) {
    let needs_escape = |byte: u8| matches!(byte, b'"' | b'\\' | 0..=31 | 127..);
    let some = |found, byte: &u8| found | needs_escape(*byte);
    if !bytes.iter().fold(false, some) {
        return out.extend_from_slice(bytes);
    }
    for byte in bytes {
        match needs_escape(*byte) {
            true => {
                let _ = write!(out, "\\x{byte:02X}");
            }
            false => out.push(*byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use http::Method;
    use proptest::prelude::*;

    use super::*;
    use crate::exchange::{Client, Exchange, RequestId};
    use crate::head::RequestHead;

    fn line(agent: &[u8], path: &str, json_format: bool) -> String {
        let mut head = RequestHead::new(Method::GET, Version::HTTP_11, path);
        head.fields_mut().set_text(&header::USER_AGENT, agent);
        head.fields_mut().set_text(&header::HOST, b"a.example");
        let client = Client {
            address: "192.0.2.1:5000".parse().ok(),
            listener: "http".into(),
            tls: false,
            session: None,
        };
        let mut exchange = Exchange::new(client, Instant::now());
        exchange.request_id = RequestId::parse(b"abc-12345").unwrap();
        exchange.route = Some("r".into());
        exchange.upstream = "10.0.0.200:7001".parse().ok();
        let finished = Finished {
            request: &head,
            exchange: &exchange,
            status: 200,
            bytes_received: 0,
            bytes_sent: 12,
            duration: Duration::from_micros(1234),
            error: None,
        };
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
        let mut out = Vec::new();
        match json_format {
            true => json(&mut out, &finished, now, Fields::default()),
            false => combined(&mut out, &finished, now, true),
        }
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn lines_as_documented() {
        assert_eq!(
            line(b"curl", "/p?secret=1", true),
            r#"{"time":"2023-11-14T22:13:20.123Z","request_id":"abc-12345","client":"192.0.2.1","listener":"http","method":"GET","host":"a.example","path":"/p","status":200,"bytes_received":0,"bytes_sent":12,"duration_ms":1.234,"route":"r","upstream":"10.0.0.200:7001","user_agent":"curl"}"#
        );
        assert_eq!(
            line(b"a\"b", "/p?q=1", false),
            r#"192.0.2.1 - - [14/Nov/2023:22:13:20 +0000] "GET /p?q=1 HTTP/1.1" 200 12 "-" "a\x22b""#
        );
    }

    proptest! {
        #[test]
        fn any_header_leaves_one_line_of_json(agent in prop::collection::vec(prop_oneof![32u8..127, 128u8..=255, Just(9)], 0..80)) {
            let text = line(&agent, "/", true);
            prop_assert!(!text.contains('\n'));
            prop_assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{}", text);
            prop_assert!(!line(&agent, "/", false).bytes().any(|byte| byte < 32));
        }
    }
}
