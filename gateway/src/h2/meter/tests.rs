use super::*;
use proptest::prelude::*;

fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags, 0, 0, 0, 1]);
    bytes.extend(payload);
    bytes
}

fn meter() -> (Meter, Instant) {
    let now = Instant::now();
    let mut meter = Meter::new(100, now);
    assert_eq!(meter.received(PREFACE, now), None);
    (meter, now)
}

/// After how many frames it is too much.
fn limit(meter: &mut Meter, now: Instant, frame: &[u8]) -> (usize, Excess) {
    (0..)
        .find_map(|count| Some((count, meter.received(frame, now)?)))
        .unwrap()
}

#[test]
fn floods_end_at_their_limit() {
    for (kind, payload, expected) in [
        (RST_STREAM, &[0, 0, 0, 8][..], (100, Excess::Resets)),
        (PING, &[0; 8], (100, Excess::Pings)),
        (SETTINGS, &[], (20, Excess::Settings)),
        (WINDOW_UPDATE, &[0, 0, 0, 1], (1000, Excess::WindowUpdates)),
        (PRIORITY, &[0; 5], (200, Excess::Priorities)),
        (0xee, b"grease", (100, Excess::Unknown)),
    ] {
        let (mut meter, now) = meter();
        assert_eq!(limit(&mut meter, now, &frame(kind, 0, payload)), expected);
    }
}

#[test]
fn time_forgives() {
    let (mut meter, now) = meter();
    let ping = frame(PING, 0, &[0; 8]);
    for second in 0..100 {
        let now = now + Duration::from_secs(second);
        for _ in 0..10 {
            assert_eq!(meter.received(&ping, now), None);
        }
    }
    let much_later = now + Duration::from_secs(1 << 30);
    assert_eq!(limit(&mut meter, much_later, &ping), (100, Excess::Pings));
}

#[test]
fn who_receives_may_acknowledge() {
    let (mut meter, now) = meter();
    let (data, update) = (frame(DATA, 0, b"x"), frame(WINDOW_UPDATE, 0, &[0, 0, 0, 1]));
    for _ in 0..10_000 {
        assert_eq!(meter.sent(&data), None);
        assert_eq!(meter.received(&update, now), None);
        assert_eq!(meter.received(&update, now), None);
        assert_eq!(meter.received(&frame(PING, 0, &[0; 8]), now), None);
    }
}

#[test]
fn resets_are_measured_against_answers() {
    let (mut meter, now) = meter();
    let (answer, reset) = (
        frame(HEADERS, END_STREAM, b"h"),
        frame(RST_STREAM, 0, &[0, 0, 0, 8]),
    );
    for _ in 0..1000 {
        assert_eq!(meter.sent(&answer), None);
        assert_eq!(meter.sent(&answer), None);
        assert_eq!(meter.received(&reset, now), None);
    }
    let no_error = frame(RST_STREAM, 0, &[0; 4]);
    for _ in 0..1000 {
        assert_eq!(meter.sent(&no_error), None);
    }
    // One is spent since the last answer.
    let ours = (0..).find(|_| meter.sent(&reset).is_some());
    assert_eq!(ours, Some(99), "those that it made us send count too");
}

#[test]
fn farewells_are_understood() {
    let (mut meter, _) = meter();
    meter.sent(&frame(GOAWAY, 0, &[0; 8]));
    assert_eq!(meter.goodbye(), None);
    meter.sent(&frame(GOAWAY, 0, b"\0\0\0\0\0\0\0\x0btoo_many_resets"));
    assert_eq!(meter.goodbye(), Some("resets"));
}

proptest! {
    #[test]
    fn pieces_do_not_matter(
        frames in proptest::collection::vec((0u8..12, any::<u8>(), proptest::collection::vec(any::<u8>(), 0..40)), 0..20),
        cuts in proptest::collection::vec(1usize..30, 1..50),
    ) {
        let bytes: Vec<u8> = frames.iter().flat_map(|(kind, flags, payload)| frame(*kind, *flags, payload)).collect();
        let mut whole = Vec::new();
        let told = |frame: Frame<'_>| (frame.kind, frame.flags, frame.length, frame.start.to_vec());
        Frames::after(0).read(&bytes, |frame| whole.push(told(frame)));
        let start = |kind, payload: &[u8]| match kind {
            RST_STREAM | GOAWAY => payload[..payload.len().min(START)].to_vec(),
            _ => Vec::new(),
        };
        let sent: Vec<_> = frames.iter().map(|(kind, flags, payload)| (*kind, *flags, payload.len(), start(*kind, payload))).collect();
        prop_assert_eq!(&whole, &sent);

        let (mut pieces, mut rest, mut cuts) = (Vec::new(), &bytes[..], cuts.iter().cycle());
        let mut reader = Frames::after(0);
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
            reader.read(piece, |frame| pieces.push(told(frame)));
            rest = after;
        }
        prop_assert_eq!(pieces, whole);
    }

    #[test]
    fn arbitrary_bytes_are_heard(bytes in proptest::collection::vec(any::<u8>(), 0..500)) {
        let (mut meter, now) = meter();
        let _ = meter.received(&bytes, now);
        let _ = meter.sent(&bytes);
    }
}
