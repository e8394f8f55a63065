//! What a stranger may send as the ClientHello that a connection begins with, in pieces of any length.

#![no_main]

use l4::sniff::{Hello, HelloReader, LONGEST_HELLO, ServerName};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, &[u8])| {
    let (step, bytes) = input;
    let at_once = HelloReader::default().read(bytes);
    let mut reader = HelloReader::default();
    let step = usize::from(step).max(1);
    let ends = (0..bytes.len()).step_by(step).skip(1).chain([bytes.len()]);
    let mut outcome = Hello::Partial;
    for end in ends {
        outcome = reader.read(&bytes[..end]);
        if outcome != Hello::Partial {
            // However it comes, it is the same; what follows a whole one does not matter.
            assert_eq!(HelloReader::default().read(&bytes[..end]), outcome);
            break;
        }
    }
    match (&outcome, &at_once) {
        // What is wrong may be found sooner, or another thing, but never is it taken for right.
        (Hello::Broken(_) | Hello::NotTls, found) => {
            assert!(matches!(found, Hello::Broken(_) | Hello::NotTls));
        }
        (outcome, found) => assert_eq!(outcome, found),
    }
    match at_once {
        Hello::Whole(hello) => {
            if let Some(name) = hello.name {
                assert_eq!(ServerName::read(name.as_str().as_bytes()), Some(name));
            }
        }
        // Records of one octet each have six times as much.
        Hello::Partial => assert!(bytes.len() <= 6 * LONGEST_HELLO),
        Hello::NotTls | Hello::Broken(_) => {}
    }
});
