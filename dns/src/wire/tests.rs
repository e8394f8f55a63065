//! What packets are taken for, and that none is too much.

use proptest::prelude::*;

use super::*;

fn query(name: &[u8], qtype: u16, class: u16) -> Vec<u8> {
    let mut packet = vec![0x12, 0x34, 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0];
    packet.extend_from_slice(name);
    packet.extend_from_slice(&qtype.to_be_bytes());
    packet.extend_from_slice(&class.to_be_bytes());
    packet
}

fn with_opt(mut packet: Vec<u8>, version: u8, options: &[u8]) -> Vec<u8> {
    packet[11] += 1;
    packet.extend_from_slice(&[0, 0, 41, 0x04, 0xD0, 0, version, 0x80, 0]);
    packet.extend_from_slice(&(options.len() as u16).to_be_bytes());
    packet.extend_from_slice(options);
    packet
}

const WWW: &[u8] = b"\x03wWw\x07Example\x00";

fn judge(packet: &[u8]) -> Parsed {
    parse(packet, &mut QueryName::default())
}

fn code(packet: &[u8]) -> u16 {
    match judge(packet) {
        Parsed::Refused(refused) => refused.code,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_plain_query_in_any_case() {
    let mut name = QueryName::default();
    let Parsed::Query(query) = parse(&query(WWW, 1, 1), &mut name) else {
        panic!("it is sound")
    };
    assert_eq!(name.wire(), b"\x03www\x07example\x00");
    assert_eq!((name.labels(), query.question, query.qtype), (2, 17, 1));
    assert_eq!(name.suffix(1), b"\x07example\x00");
    assert_eq!(name.suffix(2), b"\x00");
    assert_eq!(query.edns, None);
}

#[test]
fn responses_and_fragments_get_silence() {
    let mut response = query(WWW, 1, 1);
    response[2] |= 0x80;
    assert_eq!(judge(&response), Parsed::Silence);
    for length in 0..HEADER {
        assert_eq!(judge(&response[..length]), Parsed::Silence);
        assert_eq!(judge(&query(WWW, 1, 1)[..length]), Parsed::Silence);
    }
}

#[test]
fn what_cannot_be_understood_is_a_format_error() {
    let whole = with_opt(query(WWW, 1, 1), 0, b"");
    for length in HEADER..whole.len() {
        assert_eq!(code(&whole[..length]), rcode::FORMERR, "{length} octets");
    }
    let mut trailing = whole.clone();
    trailing.push(0);
    assert_eq!(code(&trailing), rcode::FORMERR);
    for counts in [
        [0, 0, 0, 0],
        [2, 0, 0, 0],
        [1, 1, 0, 0],
        [1, 0, 1, 0],
        [1, 0, 0, 1],
    ] {
        let mut packet = query(WWW, 1, 1);
        for (at, count) in counts.iter().enumerate() {
            packet[5 + at * 2] = *count;
        }
        assert_eq!(code(&packet), rcode::FORMERR, "{counts:?}");
    }
    let pointer = query(b"\x03www\xC0\x0C", 1, 1);
    assert_eq!(code(&pointer), rcode::FORMERR);
    let extended = query(b"\x43www\x00", 1, 1);
    assert_eq!(code(&extended), rcode::FORMERR);
    assert_eq!(code(&query(WWW, rtype::OPT, 1)), rcode::FORMERR);
    assert_eq!(code(&query(WWW, 0, 1)), rcode::FORMERR);
}

#[test]
fn other_kinds_and_classes_are_not_served() {
    for opcode in 1..16u8 {
        let mut packet = query(WWW, 1, 1);
        packet[2] |= opcode << 3;
        assert_eq!(code(&packet), rcode::NOTIMP, "opcode {opcode}");
    }
    for class in [0, 3, 4, 254, 255] {
        assert_eq!(code(&query(WWW, 1, class)), rcode::REFUSED, "class {class}");
    }
    assert_eq!(code(&query(WWW, 254, 1)), rcode::NOTIMP);
}

#[test]
fn names_have_a_longest() {
    let label = [[63].as_slice(), &[b'a'; 63]].concat();
    let longest = [label.repeat(3), vec![61], vec![b'b'; 61], vec![0]].concat();
    assert_eq!(longest.len(), LONGEST_NAME);
    assert!(matches!(judge(&query(&longest, 1, 1)), Parsed::Query(_)));
    let longer = [label.repeat(3), vec![62], vec![b'b'; 62], vec![0]].concat();
    assert_eq!(code(&query(&longer, 1, 1)), rcode::FORMERR);
    let most = [b"\x01a".repeat(127), vec![0]].concat();
    assert!(matches!(judge(&query(&most, 1, 1)), Parsed::Query(_)));
    let more = [b"\x01a".repeat(128), vec![0]].concat();
    assert_eq!(code(&query(&more, 1, 1)), rcode::FORMERR);
}

#[test]
fn edns_versions_options_and_doubles() {
    let edns = |packet: &[u8]| match judge(packet) {
        Parsed::Query(query) => query.edns.expect("there is one"),
        other => panic!("{other:?}"),
    };
    let plain = edns(&with_opt(query(WWW, 1, 1), 0, b""));
    assert_eq!((plain.udp_size, plain.wants_dnssec), (1232, true));
    // Option 65001 is nobody's.
    edns(&with_opt(query(WWW, 1, 1), 0, b"\xFD\xE9\x00\x02hi"));
    assert_eq!(code(&with_opt(query(WWW, 1, 1), 1, b"")), rcode::BADVERS);
    let cut = with_opt(query(WWW, 1, 1), 0, b"\xFD\xE9\x00\x03hi");
    assert_eq!(code(&cut), rcode::FORMERR);
    let double = with_opt(with_opt(query(WWW, 1, 1), 0, b""), 0, b"");
    assert_eq!(code(&double), rcode::FORMERR);
}

#[test]
fn subnets_say_exactly_what_they_say() {
    let subnet = |data: &[u8]| {
        let option = [&[0, 8, 0, data.len() as u8], data].concat();
        match judge(&with_opt(query(WWW, 1, 1), 0, &option)) {
            Parsed::Query(query) => query.edns.and_then(|edns| edns.subnet),
            _ => None,
        }
    };
    let net = subnet(&[0, 1, 22, 0, 192, 0, 4]).expect("it is sound");
    assert_eq!(
        (net.ip().to_string().as_str(), net.source),
        ("192.0.4.0", 22)
    );
    let mut out = [0; 32];
    let written = net.write(20, &mut out);
    assert_eq!(&out[..written], [0, 8, 0, 7, 0, 1, 22, 20, 192, 0, 4]);
    assert_eq!(net.len(), written);
    assert!(subnet(&[0, 2, 0, 0]).is_some_and(|net| net.is_empty()));
    for wrong in [
        &[0, 1, 22, 0, 192, 0, 5][..], // bits beyond the prefix
        &[0, 1, 22, 0, 192, 0, 4, 0],  // an octet too many
        &[0, 1, 22, 0, 192, 0],        // one too few
        &[0, 1, 33, 0, 1, 2, 3, 4, 5], // longer than an address
        &[0, 3, 8, 0, 1],              // a family that nobody knows
        &[0, 1, 8, 8, 10],             // a scope in a query
        &[0, 1],
    ] {
        assert_eq!(subnet(wrong), None, "{wrong:?}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_judged(packet in proptest::collection::vec(any::<u8>(), 0..600)) {
        let mut name = QueryName::default();
        let _ = parse(&packet, &mut name);
    }

    #[test]
    fn a_damaged_query_is_judged(at in 0usize..60, to: u8, cut in 0usize..60) {
        let mut packet = with_opt(query(WWW, 28, 1), 0, &[0, 8, 0, 7, 0, 1, 24, 0, 192, 0, 2]);
        let len = packet.len();
        packet[at % len] = to;
        packet.truncate(len - cut.min(len));
        let mut name = QueryName::default();
        if let Parsed::Query(query) = parse(&packet, &mut name) {
            prop_assert!(query.question + HEADER <= packet.len());
            prop_assert_eq!(name.wire().len() + 4, query.question);
            prop_assert!(name.wire().iter().all(|byte| !byte.is_ascii_uppercase()));
        }
    }
}
