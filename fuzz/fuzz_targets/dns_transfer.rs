//! The messages of a primary: any bytes are read without a panic, and a version that was read can be sent on and read again.
#![no_main]

use std::sync::Arc;

use dns::transfer::TsigAlgorithm;
use dns::transfer::journal::Since;
use dns::transfer::key::Key;
use dns::transfer::out::Outgoing;
use dns::transfer::receive::{Got, Limits, Receiver};
use dns::transfer::tsig::Chain;
use dns::transfer::version::{Entry, Version};
use dns::wire::{Flags, Header};
use dns::zone::Name;
use libfuzzer_sys::fuzz_target;

const AXFR: [u8; 4] = [0, 252, 0, 1];
const IXFR: [u8; 4] = [0, 251, 0, 1];

fn apex() -> Name {
    Name::from_text("example").expect("it is a name")
}

fn receiver(kind: [u8; 4], base: Option<Arc<Version>>) -> Receiver {
    let question = [&*apex(), &kind].concat();
    let limits = Limits {
        records: 10_000,
        octets: 1 << 20,
    };
    Receiver::new(apex(), 7, &question, base, limits)
}

/// The version that changes are read for: serial 1, and an address.
fn base() -> Arc<Version> {
    let entry = |rtype, data: &[u8]| Entry {
        owner: apex(),
        rtype,
        ttl: 60,
        data: data.into(),
    };
    let mut soa = vec![0; 22];
    soa[5] = 1;
    let soa = entry(6, &soa);
    Arc::new(Version::new(soa, vec![entry(1, &[192, 0, 2, 1])]))
}

/// Messages, each with its length in front.
fn messages(mut rest: &[u8]) -> Vec<&[u8]> {
    let mut messages = Vec::new();
    while let Some((length, more)) = rest.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes(*length)).min(more.len());
        let (message, after) = more.split_at(length);
        messages.push(message);
        rest = after;
    }
    messages
}

fn read(mut receiver: Receiver, messages: &[&[u8]]) -> Option<Got> {
    let mut messages = messages.iter();
    messages
        .find_map(|message| receiver.take(message).transpose())?
        .ok()
}

fn sent_on(version: &Version) {
    let header = Header {
        id: 7,
        flags: Flags(0),
        counts: [1, 0, 0, 0],
    };
    let question = [&*apex(), &AXFR].concat();
    let mut sender = Outgoing::new(header, &question, None, version, Since::Whole, None);
    let mut receiver = receiver(AXFR, None);
    while let Some(message) = sender
        .next(0)
        .expect("every record fits, for it came in a message")
    {
        match receiver.take(&message).expect("what we send can be read") {
            None => {}
            Some(Got::Whole(again)) => return assert_eq!(again, *version),
            Some(other) => panic!("{other:?}"),
        }
    }
    panic!("it has no end");
}

fuzz_target!(|data: &[u8]| {
    let messages = messages(data);
    for (kind, base) in [(AXFR, None), (IXFR, Some(base()))] {
        if let Some(Got::Whole(version) | Got::Changed(version)) =
            read(receiver(kind, base), &messages)
        {
            sent_on(&version);
        }
    }
    let key = Name::from_text("key").expect("it is a name");
    let key = Arc::new(Key::new(
        key,
        TsigAlgorithm::HmacSha256,
        b"0123456789abcdef",
    ));
    let mut request = vec![0; 12];
    let mut chain = Chain::request(&key, &mut request, 0);
    for message in messages {
        let _ = chain.verify(&mut message.to_vec(), 0);
    }
});
