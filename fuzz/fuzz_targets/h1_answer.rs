//! An upstream's answer: any bytes are judged without a panic, however they are cut; what is taken
//! for a head holds nothing that could be read differently, and pieces make no difference to a body.
#![no_main]

use gateway::h1::head::AnswerParser;
use gateway::relay::answer::{Body, LIMITS, Piece, judge};
use http::Method;
use libfuzzer_sys::fuzz_target;

/// The body, whether it is complete, and what follows it; none when it is malformed.
fn read(mut body: Body, pieces: &[&[u8]]) -> Option<(Vec<u8>, bool, Vec<u8>)> {
    let (mut arrived, mut read, mut done) = (Vec::new(), Vec::new(), false);
    for piece in pieces {
        arrived.extend_from_slice(piece);
        while !done {
            match body.next(&arrived).ok()? {
                Piece::Skip(bytes) => drop(arrived.drain(..bytes)),
                Piece::Data(bytes, last) => {
                    assert!(bytes > 0 && bytes <= arrived.len());
                    read.extend(arrived.drain(..bytes));
                    done = last;
                }
                Piece::More => break,
                Piece::End => done = true,
            }
        }
    }
    Some((read, done, arrived))
}

fuzz_target!(|bytes: &[u8]| {
    let (cut, bytes) = match bytes {
        [cut, rest @ ..] => (usize::from(*cut).min(rest.len()), rest),
        [] => return,
    };
    let method = if cut % 8 == 7 { Method::HEAD } else { Method::GET };
    let mut whole = AnswerParser::default();
    let at_once = whole.parse(bytes, &LIMITS).map(|head| head.map(|head| head.len));
    let mut pieces = AnswerParser::default();
    let first = pieces.parse(&bytes[..cut], &LIMITS).map(|head| head.map(|head| head.len));
    let in_two = match first {
        Ok(None) => pieces.parse(bytes, &LIMITS).map(|head| head.map(|head| head.len)),
        ended => ended,
    };
    assert_eq!(at_once.ok(), in_two.ok());
    let Ok(Some(len)) = at_once else { return };
    let head = whole.head(bytes, len);
    assert!(bytes[..len].ends_with(b"\r\n\r\n"));
    let (Ok(answer), Ok(again)) = (judge(&head, &method), judge(&head, &method)) else {
        return;
    };
    let is = |name: &[u8], wanted: &str| name.eq_ignore_ascii_case(wanted.as_bytes());
    let lengths = head.pairs().filter(|(name, _)| is(name, "content-length")).count();
    match answer.body {
        Body::Length(_) => assert_eq!(lengths, 1, "the body's end is in doubt"),
        Body::Close => assert_eq!(lengths, 0),
        Body::Done | Body::Chunked(_) => {}
    }
    let rest = &bytes[len..];
    let cut = cut.min(rest.len());
    let whole = read(answer.body, &[rest]);
    let in_two = read(again.body, &[&rest[..cut], &rest[cut..]]);
    assert_eq!(whole.is_some(), in_two.is_some());
    if let (Some(whole), Some(in_two)) = (whole, in_two) {
        assert_eq!(whole, in_two);
    }
});
