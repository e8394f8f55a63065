use std::net::{IpAddr, SocketAddr};

use proptest::prelude::*;

use super::*;

fn parsed(bytes: &[u8]) -> (Header, usize) {
    match parse(bytes) {
        Parsing::Parsed { header, length } => (header, length),
        other => panic!("{other:?}"),
    }
}

fn refused(bytes: &[u8]) -> Refusal {
    match parse(bytes) {
        Parsing::Refused(refusal) => refusal,
        other => panic!("{:?}: {other:?}", String::from_utf8_lossy(bytes)),
    }
}

/// A header of version 2 of this command, kind and content.
fn v2(command: u8, kind: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = v2::SIGNATURE.to_vec();
    bytes.extend([command, kind]);
    bytes.extend(u16::try_from(content.len()).unwrap().to_be_bytes());
    bytes.extend(content);
    bytes
}

#[test]
fn lines() {
    let (header, length) = parsed(b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\nGET /");
    assert_eq!(length, 45);
    assert_eq!(header.version, Version::V1);
    assert_eq!(
        header.origin,
        Origin::Inet {
            source: "192.0.2.1:56324".parse().unwrap(),
            destination: "198.51.100.1:443".parse().unwrap(),
            datagram: false,
        }
    );
    let (header, _) = parsed(b"PROXY UNKNOWN ffff:: anything 1 2\r\n");
    assert_eq!(header.origin, Origin::Unknown);
    assert_eq!(parsed(LOCAL_V1).0.origin, Origin::Unknown);
    let longest = format!("PROXY UNKNOWN {}\r\n", "x".repeat(91));
    assert_eq!(parsed(longest.as_bytes()).1, 107);
}

#[test]
fn lines_that_are_almost_right() {
    for line in [
        "PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 +56324 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 056324 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 65536 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 1 443 \r\n",
        "PROXY TCP4 192.0.2.1  198.51.100.1 1 443\r\n",
        "PROXY TCP4 192.0.2.01 198.51.100.1 1 443\r\n",
        "PROXY TCP4 ::1 ::1 1 443\r\n",
        "PROXY TCP6 192.0.2.1 ::1 1 443\r\n",
        "PROXY TCP6 fe80::1%eth0 ::1 1 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 443\r\n",
        "PROXY UDP4 192.0.2.1 198.51.100.1 1 443\r\n",
        "PROXY unknown\r\n",
        "PROXY \r\n",
        "PROXY UNKNOWN\r\r\n",
    ] {
        assert_eq!(refused(line.as_bytes()), Refusal::Line, "{line:?}");
    }
    for stranger in [&b"GET / HTTP/1.1\r\n"[..], b"proxy TCP4", b"\x16\x03\x01"] {
        assert_eq!(refused(stranger), Refusal::NoHeader);
    }
    let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(92));
    assert_eq!(refused(long.as_bytes()), Refusal::TooLong);
    assert_eq!(refused(&long.as_bytes()[..107]), Refusal::TooLong);
}

#[test]
fn kinds_of_version_2() {
    assert_eq!(parsed(LOCAL_V2).0.origin, Origin::Local);
    // A local header may carry anything, and the length alone says where it ends.
    let (header, length) = parsed(&v2(0x20, 0xff, b"anything"));
    assert_eq!((header.origin, length), (Origin::Local, 24));
    assert_eq!(parsed(&v2(0x21, 0, b"xyz")).0.origin, Origin::Unknown);

    let mut paths = [0; 216];
    paths[..5].copy_from_slice(b"/from");
    paths[108..112].copy_from_slice(b"\0abs");
    let expected = Origin::Unix {
        source: b"/from".to_vec(),
        destination: b"\0abs".to_vec(),
        datagram: true,
    };
    assert_eq!(parsed(&v2(0x21, 0x32, &paths)).0.origin, expected);

    for (command, kind) in [
        (0x11, 0x11), // version 1 in binary
        (0x22, 0x11),
        (0x21, 0x10), // IPv4 over nothing
        (0x21, 0x01), // TCP over nothing
        (0x21, 0x13),
        (0x21, 0x41),
    ] {
        assert_eq!(refused(&v2(command, kind, &[0; 216])), Refusal::Kind);
    }
    assert_eq!(refused(&v2(0x21, 0x21, &[0; 35])), Refusal::Tlvs);
    assert_eq!(refused(&v2(0x21, 0x11, &[0; 4081])[..16]), Refusal::TooLong);
}

#[test]
fn tlvs_that_are_wrong() {
    for tlvs in [
        &[0x01, 0, 0][..],                        // an empty protocol
        &[0x02, 0, 2, b'a'],                      // longer than the header
        &[0x02, 0, 1, 0xff],                      // not UTF-8
        &[0x02, 0, 1, b'\n'],                     // a name with a new line
        &[0x02, 0, 1, b'a', 0x02, 0, 1, b'b'],    // twice
        &[0x02, 0],                               // half a head
        &[0x20, 0, 4, 1, 0, 0, 0],                // half an SSL TLV
        &[0x20, 0, 8, 1, 0, 0, 0, 0, 0x21, 0, 1], // half a TLV in it
        &[0x03, 0, 3, 0, 0, 0],                   // a short checksum
    ] {
        let content = [&[0; 12][..], tlvs].concat();
        assert_eq!(
            refused(&v2(0x21, 0x11, &content)),
            Refusal::Tlvs,
            "{tlvs:?}"
        );
    }
    let content = [&[0; 12][..], &[0x03, 0, 4, 0, 0, 0, 0]].concat();
    assert_eq!(refused(&v2(0x21, 0x11, &content)), Refusal::Checksum);
    let id = [&[0; 12][..], &[0x05, 0, 129], &[7; 129]].concat();
    assert_eq!(refused(&v2(0x21, 0x11, &id)), Refusal::Tlvs);
    let unknown = [&[0; 12][..], &[0xea, 0, 1, 9, 0x04, 0, 0]].concat();
    assert_eq!(parsed(&v2(0x21, 0x11, &unknown)).0.tlvs, Tlvs::default());
}

#[test]
fn a_line_in_pieces_is_judged_as_the_whole_of_it() {
    for line in [&b"PROXY UNKNOWN \0\r\n"[..], b"PROXY UNKNOWN \xc3\xa4\r\n"] {
        assert_eq!(refused(line), Refusal::Line);
        assert_eq!(refused(&line[..line.len() - 2]), Refusal::Line);
    }
}

#[test]
fn two_families_become_one() {
    let (source, destination) = ("192.0.2.1:1".parse().unwrap(), "[::1]:2".parse().unwrap());
    let line = encode_v1(source, destination);
    assert_eq!(line, b"PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n");
    let header = encode_v2(source, destination, &Tlvs::default()).unwrap();
    assert_eq!(parsed(&header).0.origin, parsed(&line).0.origin);
}

fn texts() -> impl Strategy<Value = Option<String>> {
    proptest::option::of("[ -~äλ]{0,40}")
}

fn ssl() -> impl Strategy<Value = Ssl> {
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    let names = (texts(), texts(), texts(), texts(), texts());
    (flags, names).prop_map(|(flags, names)| {
        let (tls, certificate, session_certificate, good) = flags;
        let (version, common_name, cipher, signature_algorithm, key_algorithm) = names;
        Ssl {
            tls,
            certificate,
            session_certificate,
            verified: good && (certificate || session_certificate),
            version,
            common_name,
            cipher,
            signature_algorithm,
            key_algorithm,
        }
    })
}

fn tlvs() -> impl Strategy<Value = Tlvs> {
    let bytes = |range| proptest::option::of(proptest::collection::vec(any::<u8>(), range));
    let ssl = proptest::option::of(ssl().prop_map(Box::new));
    (texts(), bytes(1..20), bytes(0..129), ssl, any::<bool>()).prop_map(
        |(authority, alpn, unique_id, ssl, checksum)| Tlvs {
            authority,
            alpn,
            unique_id,
            ssl,
            checksum,
        },
    )
}

fn pairs() -> impl Strategy<Value = (SocketAddr, SocketAddr)> {
    let sockets = (any::<IpAddr>(), any::<u16>(), any::<u16>());
    (sockets, any::<[u8; 16]>()).prop_map(|((ip, from, to), other)| {
        let other: IpAddr = match ip {
            IpAddr::V4(_) => [other[0], other[1], other[2], other[3]].into(),
            IpAddr::V6(_) => other.into(),
        };
        (SocketAddr::new(ip, from), SocketAddr::new(other, to))
    })
}

/// Every beginning of a header wants more, and not more than there is.
fn assert_incomplete_until_its_end(bytes: &[u8]) -> Result<(), TestCaseError> {
    for end in 0..bytes.len() {
        match parse(&bytes[..end]) {
            Parsing::Incomplete { needed } => {
                prop_assert!(
                    needed >= 1 && end + needed <= bytes.len(),
                    "{end}: {needed}"
                );
            }
            other => prop_assert!(false, "{end} of {}: {other:?}", bytes.len()),
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn version_1_round_trip((source, destination) in pairs()) {
        let mut bytes = encode_v1(source, destination);
        assert_incomplete_until_its_end(&bytes)?;
        let length = bytes.len();
        bytes.extend(b"\r\nmore");
        let (header, read) = parsed(&bytes);
        prop_assert_eq!(read, length);
        let origin = Origin::Inet { source, destination, datagram: false };
        prop_assert_eq!(header, Header { version: Version::V1, origin, tlvs: Tlvs::default() });
    }

    #[test]
    fn version_2_round_trip((source, destination) in pairs(), tlvs in tlvs()) {
        let mut bytes = encode_v2(source, destination, &tlvs).unwrap();
        assert_incomplete_until_its_end(&bytes)?;
        let length = bytes.len();
        bytes.extend(b"more");
        let (header, read) = parsed(&bytes);
        prop_assert_eq!(read, length);
        let origin = Origin::Inet { source, destination, datagram: false };
        prop_assert_eq!(header, Header { version: Version::V2, origin, tlvs });
    }

    #[test]
    fn a_flipped_bit_never_passes_the_checksum(
        (source, destination) in pairs(),
        at in any::<proptest::sample::Index>(),
        bit in 0..8,
    ) {
        let tlvs = Tlvs { checksum: true, ..Tlvs::default() };
        let sound = encode_v2(source, destination, &tlvs).unwrap();
        let mut bytes = sound.clone();
        bytes[at.index(sound.len())] ^= 1u8 << bit;
        if let Parsing::Parsed { header, .. } = parse(&bytes) {
            // What says that there is a checksum was hit itself.
            prop_assert!(!header.tlvs.checksum);
        }
    }

    #[test]
    fn arbitrary_bytes_are_judged_within_the_limit(
        prefix in prop_oneof![Just(&b""[..]), Just(v1::PREFIX), Just(&v2::SIGNATURE[..]), Just(&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00"[..])],
        tail in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let bytes = [prefix, &tail].concat();
        match parse(&bytes) {
            Parsing::Parsed { length, .. } => prop_assert!(length <= bytes.len()),
            Parsing::Incomplete { needed } => prop_assert!(bytes.len() + needed <= LIMIT),
            Parsing::Refused(_) => {}
        }
    }
}
