//! What a proxy, or a stranger in its place, may send before the first request.

#![no_main]

use chassis::net::proxy_protocol::{LIMIT, Origin, Parsing, Version, encode_v1, encode_v2, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    match parse(bytes) {
        Parsing::Refused(_) => {}
        Parsing::Incomplete { needed } => assert!(needed > 0 && bytes.len() + needed <= LIMIT),
        Parsing::Parsed { header, length } => {
            assert!(length <= bytes.len() && length <= LIMIT);
            let Origin::Inet {
                source,
                destination,
                datagram: false,
            } = header.origin
            else {
                return;
            };
            let again = match header.version {
                Version::V1 => encode_v1(source, destination),
                // Unknown TLVs may have made it as large as may be, and they are not kept.
                Version::V2 => encode_v2(source, destination, &header.tlvs).expect("no larger"),
            };
            let written = again.len();
            assert_eq!(
                parse(&again),
                Parsing::Parsed {
                    header,
                    length: written
                }
            );
        }
    }
});
