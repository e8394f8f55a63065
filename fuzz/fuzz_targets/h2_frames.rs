//! The frames of an HTTP/2 connection: any bytes are counted without a panic, and pieces make no difference.
#![no_main]

use std::time::Instant;

use gateway::h2::meter::{Excess, Meter};
use libfuzzer_sys::fuzz_target;

/// What there was too much of first, from the client and from us.
fn judge(pieces: &[&[u8]], now: Instant) -> [Option<Excess>; 2] {
    let mut meter = Meter::new(2, now);
    let mut found = [None; 2];
    for piece in pieces {
        found[0] = found[0].or(meter.received(piece, now));
    }
    for piece in pieces {
        found[1] = found[1].or(meter.sent(piece));
    }
    found
}

fuzz_target!(|bytes: &[u8]| {
    let (cut, bytes) = match bytes {
        [cut, rest @ ..] => (usize::from(*cut).min(rest.len()), rest),
        [] => return,
    };
    let now = Instant::now();
    let whole = judge(&[bytes], now);
    let (first, second) = bytes.split_at(cut);
    assert_eq!(judge(&[first, second], now), whole);
    if bytes.len() < 64 {
        let each: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(judge(&each, now), whole);
    }
});
