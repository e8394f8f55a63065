//! What a primary may send, and what it must not.

use super::super::journal::Since;
use super::super::out::Outgoing;
use super::*;
use crate::wire::rtype::ALIAS;
use crate::wire::{Flags, Header};

const ROOM: Limits = Limits {
    records: 10_000,
    octets: 1 << 20,
};

fn apex() -> Name {
    Name::from_text("example.test").unwrap()
}

fn soa(serial: u32) -> Entry {
    let mut data = vec![0, 0];
    for number in [serial, 1, 2, 3, 4] {
        data.extend(number.to_be_bytes());
    }
    record("example.test", SOA, &data)
}

fn record(owner: &str, rtype: u16, data: &[u8]) -> Entry {
    Entry {
        owner: Name::from_text(owner).unwrap(),
        rtype,
        ttl: 60,
        data: data.into(),
    }
}

fn address(last: u8) -> Entry {
    record("www.example.test", 1, &[192, 0, 2, last])
}

fn asked(qtype: u16) -> Vec<u8> {
    let mut question = apex().to_vec();
    question.extend([0, qtype as u8, 0, 1]);
    question
}

fn receiver(limits: Limits) -> Receiver {
    Receiver::new(apex(), 7, &asked(252), None, limits)
}

fn for_changes() -> Receiver {
    let base = Version::new(soa(1), vec![address(1)]);
    Receiver::new(apex(), 7, &asked(251), Some(Arc::new(base)), ROOM)
}

/// A message with these records.
fn message(question: &[u8], entries: &[Entry]) -> Vec<u8> {
    let mut message = vec![0, 7, 0x84, 0, 0, 1, 0, entries.len() as u8, 0, 0, 0, 0];
    message.extend(question);
    for entry in entries {
        message.extend(&*entry.owner);
        message.extend(entry.rtype.to_be_bytes());
        message.extend([0, 1]);
        message.extend(entry.ttl.to_be_bytes());
        message.extend((entry.data.len() as u16).to_be_bytes());
        message.extend(&*entry.data);
    }
    message
}

fn take(receiver: &mut Receiver, entries: &[Entry]) -> Result<Option<Got>, String> {
    let question = receiver.question.to_vec();
    let taken = receiver.take(&message(&question, entries));
    taken.map_err(|wrong| wrong.to_string())
}

/// Why these records as one message are of no use.
fn why(mut receiver: Receiver, entries: &[Entry]) -> String {
    match take(&mut receiver, entries) {
        Err(why) => why,
        Ok(got) => panic!("{got:?}"),
    }
}

#[test]
fn a_zone_may_come_in_any_number_of_messages() {
    let mut receiver = receiver(ROOM);
    for entry in [soa(3), address(1), address(2)] {
        assert!(take(&mut receiver, &[entry]).unwrap().is_none());
    }
    let Some(Got::Whole(version)) = take(&mut receiver, &[soa(3)]).unwrap() else {
        panic!("it is complete");
    };
    assert_eq!((version.serial(), version.records.len()), (3, 2));
}

#[test]
fn a_type_of_ours_alone_does_not_come_from_elsewhere() {
    // Its data would be read as a name: nothing in it is believed.
    let alias = |last| record("example.test", ALIAS, &[200, last]);
    let mut whole = receiver(ROOM);
    let entries = [soa(3), alias(1), address(1), alias(2), soa(3)];
    let Some(Got::Whole(version)) = take(&mut whole, &entries).unwrap() else {
        panic!("it is complete");
    };
    assert_eq!(*version.records, [address(1)]);
    // Nor do changes of it matter.
    let mut changes = for_changes();
    let entries = [
        soa(3),
        soa(1),
        alias(1),
        soa(3),
        alias(2),
        address(2),
        soa(3),
    ];
    let Some(Got::Changed(version)) = take(&mut changes, &entries).unwrap() else {
        panic!("they are complete");
    };
    assert_eq!(*version.records, [address(1), address(2)]);
    // They count all the same.
    let mut endless = receiver(Limits {
        records: 5,
        octets: 1 << 20,
    });
    take(&mut endless, &[soa(1)]).unwrap();
    let mut taken = (0..100).map(|last| take(&mut endless, &[alias(last)]));
    let why = taken.find_map(Result::err).unwrap();
    assert!(why.contains("transfers.records"), "{why}");
}

#[test]
fn whoever_is_asked_for_changes_may_have_none() {
    let mut receiver = for_changes();
    assert!(matches!(
        take(&mut receiver, &[soa(1)]),
        Ok(Some(Got::UpToDate))
    ));
}

#[test]
fn whoever_is_asked_for_changes_may_send_the_zone() {
    let mut receiver = for_changes();
    let entries = [soa(3), address(9), soa(3)];
    assert!(
        matches!(take(&mut receiver, &entries), Ok(Some(Got::Whole(version))) if version.serial() == 3)
    );
}

#[test]
fn changes_over_several_versions_are_made() {
    let mut receiver = for_changes();
    let entries = [
        soa(3),
        soa(1),
        address(1),
        soa(2),
        address(2),
        soa(2),
        soa(3),
        address(3),
        soa(3),
    ];
    let Ok(Some(Got::Changed(version))) = take(&mut receiver, &entries) else {
        panic!("they are complete");
    };
    assert_eq!(*version.records, [address(2), address(3)]);
    assert_eq!(version.serial(), 3);
}

#[test]
fn changes_that_do_not_fit_are_refused() {
    let base_is_another = [soa(3), soa(2), soa(3), address(3), soa(3)];
    assert_eq!(why(for_changes(), &base_is_another), Misfit.to_string());
    let not_there = [soa(3), soa(1), address(8), soa(3), soa(3)];
    assert_eq!(why(for_changes(), &not_there), Misfit.to_string());
    let gap = [soa(3), soa(1), soa(2), address(2), soa(7)];
    assert!(why(for_changes(), &gap).contains("follow each other"));
    assert!(why(receiver(ROOM), &[soa(3), soa(1)]).contains("nobody asked"));
}

#[test]
fn what_is_not_of_the_zone_is_refused() {
    let cases = [
        (vec![address(1)], "SOA"),
        (
            vec![soa(3), record("www.example.org", 1, &[0; 4])],
            "not of the zone",
        ),
        (
            vec![soa(3), record("www.example.test", SOA, &soa(3).data)],
            "not of the zone",
        ),
        (
            vec![soa(3), record("www.example.test", 1, &[0; 5])],
            "data cannot be read",
        ),
        (
            vec![soa(3), record("www.example.test", 252, &[])],
            "of a type",
        ),
        (vec![soa(3), address(1), soa(4)], "another one"),
        (
            vec![soa(3), address(1), soa(3), address(2)],
            "after the last",
        ),
        (vec![], "without records"),
    ];
    for (entries, expected) in cases {
        let why = why(receiver(ROOM), &entries);
        assert!(why.contains(expected), "{why}");
    }
}

#[test]
fn an_answer_to_something_else_is_refused() {
    let good = message(&asked(252), &[soa(3), address(1), soa(3)]);
    for (at, octet, expected) in [
        (1, 8, "not an answer to what"),
        (2, 0x04, "not an answer to what"),
        (2, 0xA4, "not an answer to what"),
        (2, 0x86, "cut"),
        (3, 5, "REFUSED"),
        (13, b'x', "not an answer to this question"),
        (5, 0, "not an answer to this question"),
    ] {
        let mut other = good.clone();
        other[at] = octet;
        let why = receiver(ROOM).take(&other).unwrap_err().to_string();
        assert!(why.contains(expected), "{why}");
    }
}

#[test]
fn what_never_ends_is_given_up() {
    let small = Limits {
        records: 5,
        octets: 1 << 20,
    };
    let mut endless = receiver(small);
    take(&mut endless, &[soa(1)]).unwrap();
    let mut taken = (0..).map(|last| take(&mut endless, &[address(last as u8)]));
    let why = taken.find_map(Result::err).unwrap();
    assert!(why.contains("transfers.records"), "{why}");
    let mut endless = receiver(Limits {
        records: 1 << 20,
        octets: 4096,
    });
    take(&mut endless, &[soa(1)]).unwrap();
    let mut taken = (0..).map(|last| take(&mut endless, &[address(last as u8)]));
    let why = taken.find_map(Result::err).unwrap();
    assert!(why.contains("transfers.size"), "{why}");
}

#[test]
fn every_cut_and_every_flipped_bit_is_survived() {
    let version = Version::new(soa(3), vec![address(1), address(2)]);
    let header = Header {
        id: 7,
        flags: Flags(0),
        counts: [1, 0, 0, 0],
    };
    let mut sender = Outgoing::new(header, &asked(252), None, &version, Since::Whole, None);
    let message = sender.next(0).unwrap().unwrap();
    assert!(receiver(ROOM).take(&message).is_ok());
    for end in 0..message.len() {
        assert!(!matches!(receiver(ROOM).take(&message[..end]), Ok(Some(_))));
    }
    for bit in 0..message.len() * 8 {
        let mut flipped = message.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let _ = receiver(ROOM).take(&flipped);
    }
}
