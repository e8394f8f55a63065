//! A chunked body: any bytes are judged without a panic, and pieces make no difference.
#![no_main]

use bytes::BytesMut;
use gateway::h1::chunked::{Chunked, Piece};
use gateway::h1::head::HeadLimits;
use libfuzzer_sys::fuzz_target;

/// The body, whether it is complete, and what follows it; none when it is malformed.
fn decode(pieces: &[&[u8]]) -> Option<(Vec<u8>, bool, Vec<u8>)> {
    let limits = HeadLimits {
        header: 64,
        headers: 128,
        count: 4,
        ..HeadLimits::default()
    };
    let mut chunked = Chunked::default();
    let (mut arrived, mut body, mut done) = (BytesMut::new(), Vec::new(), false);
    for piece in pieces {
        arrived.extend_from_slice(piece);
        while !done {
            match chunked.next(&mut arrived, &limits).ok()? {
                Piece::Data(bytes) => body.extend_from_slice(&bytes),
                Piece::More => break,
                Piece::End => done = true,
            }
        }
    }
    Some((body, done, arrived.to_vec()))
}

fuzz_target!(|bytes: &[u8]| {
    let (cut, bytes) = match bytes {
        [cut, rest @ ..] => (usize::from(*cut).min(rest.len()), rest),
        [] => return,
    };
    let whole = decode(&[bytes]);
    let in_two = decode(&[&bytes[..cut], &bytes[cut..]]);
    assert_eq!(whole.is_some(), in_two.is_some());
    if let (Some(whole), Some(in_two)) = (whole, in_two) {
        assert_eq!((&whole.0, whole.1), (&in_two.0, in_two.1));
        if whole.1 {
            assert_eq!(whole.2, in_two.2);
        }
    }
});
