//! A request's head: any bytes are judged without a panic, however they are cut, and what is
//! taken for a head holds nothing that could be read differently.
#![no_main]

use gateway::h1::head::{HeadLimits, RequestParser};
use gateway::h1::message::judge;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let (cut, bytes) = match bytes {
        [cut, rest @ ..] => (usize::from(*cut).min(rest.len()), rest),
        [] => return,
    };
    let limits = HeadLimits {
        request_line: 256,
        header: 128,
        headers: 512,
        count: 8,
    };
    let mut whole = RequestParser::default();
    let at_once = whole.parse(bytes, &limits).map(|head| head.map(|head| head.len));
    let mut pieces = RequestParser::default();
    let first = pieces.parse(&bytes[..cut], &limits).map(|head| head.map(|head| head.len));
    let in_two = match first {
        Ok(None) => pieces.parse(bytes, &limits).map(|head| head.map(|head| head.len)),
        ended => ended,
    };
    // Which limit is told may depend on what had arrived; whether it is a head may not.
    assert_eq!(at_once.ok(), in_two.ok());
    let Ok(Some(len)) = at_once else { return };
    let head = whole.head(bytes, len);
    assert!(bytes[..len].ends_with(b"\r\n\r\n"));
    assert!(head.target().iter().all(u8::is_ascii_graphic));
    for (name, value) in head.pairs() {
        assert!(!name.is_empty() && name.iter().all(u8::is_ascii_graphic));
        assert!(value.iter().all(|byte| *byte == b'\t' || !byte.is_ascii_control()));
    }
    if let Ok(message) = judge(&head) {
        assert!(message.target.first().is_none_or(|byte| matches!(byte, b'/' | b'?')));
        let is = |name: &[u8], wanted: &str| name.eq_ignore_ascii_case(wanted.as_bytes());
        let lengths = head.pairs().filter(|(name, _)| is(name, "content-length")).count();
        let encodings = head.pairs().filter(|(name, _)| is(name, "transfer-encoding")).count();
        assert!(lengths + encodings <= 1, "the body's end is in doubt");
    }
});
