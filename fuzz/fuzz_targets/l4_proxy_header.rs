//! A PROXY header as the balancer reads it, no octet too many at a time, and writes it for endpoints, with the name that
//! the client asked for.

#![no_main]

use chassis::net::proxy_protocol::{
    LIMIT, Origin, Parsing, Tlvs, encode_v1, encode_v2, parse,
};
use l4::sniff::ServerName;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&[u8], &[u8])| {
    let (name, bytes) = input;
    // As much as is known to be missing, and no more: what follows is the client's.
    let mut read = 0;
    let stepwise = loop {
        match parse(&bytes[..read]) {
            Parsing::Incomplete { needed } => {
                assert!(needed > 0 && read + needed <= LIMIT);
                if read + needed > bytes.len() {
                    break None;
                }
                read += needed;
            }
            other => break Some(other),
        }
    };
    let at_once = parse(bytes);
    match (&stepwise, &at_once) {
        (Some(Parsing::Parsed { length, .. }), found) => {
            assert_eq!((*length, stepwise.as_ref()), (read, Some(found)));
        }
        (Some(Parsing::Refused(_)), found) => assert!(matches!(found, Parsing::Refused(_))),
        (_, found) => assert!(!matches!(found, Parsing::Parsed { .. })),
    }
    let Parsing::Parsed { header, .. } = at_once else {
        return;
    };
    let Origin::Inet {
        source,
        destination,
        ..
    } = header.origin
    else {
        return;
    };
    let name = ServerName::read(name).map(|name| name.as_str().to_owned());
    let tlvs = Tlvs {
        authority: name,
        ..Tlvs::default()
    };
    let written = encode_v2(source, destination, &tlvs).expect("a host name fits");
    let Parsing::Parsed { header, length } = parse(&written) else {
        panic!("what is written is not read");
    };
    assert_eq!((header.tlvs.authority, length), (tlvs.authority, written.len()));
    assert!(matches!(parse(&encode_v1(source, destination)), Parsing::Parsed { .. }));
});
