//! Changes between versions, and the journal of them.

use std::sync::Arc;

use proptest::prelude::*;

use super::super::journal::{Change, Journal, News, Since};
use super::super::receive::{Got, Limits, Receiver};
use super::*;
use crate::transfer::out::Outgoing;
use crate::wire::rtype::{AXFR, IXFR, NS, TXT};
use crate::wire::{Flags, Header};

fn apex() -> Name {
    Name::from_text("example.test").unwrap()
}

fn soa(serial: u32) -> Entry {
    let mut data = vec![0, 0];
    for number in [serial, 1, 2, 3, 4] {
        data.extend(number.to_be_bytes());
    }
    entry(apex(), SOA, 60, &data)
}

fn entry(owner: Name, rtype: u16, ttl: u32, data: &[u8]) -> Entry {
    Entry {
        owner,
        rtype,
        ttl,
        data: data.into(),
    }
}

/// A version of some small numbers, so that versions have much in common.
fn version(serial: u32, records: &[(u8, u8, u8)]) -> Version {
    let record = |(owner, text, ttl): &(u8, u8, u8)| {
        let owner = apex().child(&[b'a' + owner % 8]).unwrap();
        entry(owner, TXT, 60 + u32::from(ttl % 2), &[1, b'a' + text % 4])
    };
    let mut records: Vec<_> = records.iter().map(record).collect();
    records.push(entry(apex(), NS, 60, b"\x01a\x07example\x04test\x00"));
    Version::new(soa(serial), records)
}

fn advance(journal: &mut Journal, next: &Arc<Version>, most: usize) -> News {
    let change = Change::between(journal.current(), next.clone());
    let news = change.news;
    journal.advance(change, most);
    news
}

/// All messages of a transfer to somebody with some version, and back.
fn transferred(version: &Version, since: Since, base: Option<Arc<Version>>) -> Got {
    let qtype = if base.is_some() { IXFR } else { AXFR };
    let mut question = apex().to_vec();
    question.extend([0, qtype as u8, 0, 1]);
    let header = Header {
        id: 7,
        flags: Flags(0),
        counts: [1, 0, 0, 0],
    };
    let limits = Limits {
        records: 1000,
        octets: 1 << 20,
    };
    let mut receiver = Receiver::new(apex(), 7, &question, base, limits);
    let mut sender = Outgoing::new(header, &question, None, version, since, None);
    while let Some(message) = sender.next(0).unwrap() {
        if let Some(got) = receiver.take(&message).unwrap() {
            assert!(
                sender.next(0).unwrap().is_none(),
                "nothing follows the last"
            );
            return got;
        }
    }
    panic!("the transfer has no end")
}

fn records() -> impl Strategy<Value = Vec<(u8, u8, u8)>> {
    prop::collection::vec(any::<(u8, u8, u8)>(), 0..24)
}

proptest! {
    #[test]
    fn changes_make_the_new_version_of_the_old(old in records(), new in records()) {
        let (old, new) = (version(1, &old), version(2, &new));
        let step = old.step_to(&new);
        prop_assert_eq!(old.after(&[step]).unwrap(), new);
    }

    #[test]
    fn whoever_has_a_version_gets_the_current_one(
        all in prop::collection::vec(records(), 2..6),
        most in 0_usize..80,
        has in 0_usize..6,
    ) {
        let versions: Vec<_> = all.iter().enumerate().map(|(at, records)| Arc::new(version(at as u32 + 1, records))).collect();
        let mut journal = Journal::new(versions[0].clone());
        for next in &versions[1..] {
            prop_assert_eq!(advance(&mut journal, next, most), News::Later);
        }
        let current = versions.last().unwrap();
        let base = versions[has % versions.len()].clone();
        match transferred(current, journal.since(base.serial()), Some(base.clone())) {
            Got::UpToDate => prop_assert_eq!(&base, current),
            Got::Changed(got) | Got::Whole(got) => prop_assert_eq!(&got, &**current),
        }
        match transferred(current, Since::Whole, None) {
            Got::Whole(got) => prop_assert_eq!(&got, &**current),
            other => prop_assert!(false, "{:?}", other),
        }
    }
}

#[test]
fn changes_that_do_not_fit_are_refused() {
    let old = version(1, &[(0, 0, 0)]);
    let step = old.step_to(&version(2, &[(1, 1, 0)]));
    assert_eq!(
        version(3, &[(0, 0, 0)]).after(std::slice::from_ref(&step)),
        Err(Misfit)
    );
    assert_eq!(
        version(1, &[(5, 0, 0)]).after(std::slice::from_ref(&step)),
        Err(Misfit)
    );
    assert_eq!(
        version(1, &[(0, 0, 0), (1, 1, 0)]).after(&[step]),
        Err(Misfit)
    );
}

#[test]
fn the_journal_keeps_no_more_than_it_may() {
    let mut journal = Journal::new(Arc::new(version(1, &[(0, 0, 0)])));
    // Each step is of two records and two SOA records.
    for serial in 2..=5 {
        let next = version(serial, &[(serial as u8, 0, 0), (7, 1, 0), (7, 2, 0)]);
        advance(&mut journal, &Arc::new(next), 9);
    }
    assert!(matches!(journal.since(5), Since::UpToDate));
    assert!(matches!(journal.since(4), Since::Steps(steps) if steps.len() == 1));
    assert!(matches!(journal.since(1), Since::Whole));
    assert!(
        matches!(journal.since(77), Since::UpToDate),
        "what is later than ours"
    );
}

#[test]
fn another_zone_with_the_same_serial_is_noticed() {
    let mut journal = Journal::new(Arc::new(version(5, &[(0, 0, 0)])));
    let news = |journal: &mut Journal, next| advance(journal, &Arc::new(next), 100);
    assert_eq!(news(&mut journal, version(5, &[(0, 0, 0)])), News::Nothing);
    assert_eq!(
        news(&mut journal, version(5, &[(1, 0, 0)])),
        News::SameSerial
    );
    assert_eq!(news(&mut journal, version(4, &[(1, 0, 0)])), News::Earlier);
    assert_eq!(news(&mut journal, version(6, &[(1, 0, 0)])), News::Later);
    assert!(matches!(journal.since(5), Since::Whole));
}

#[test]
fn others_get_every_address_that_a_policy_may_choose() {
    let written = "listener = [{ name = \"dns\", address = \"127.0.0.1:0\" }]\n[admin]\naddress = \"127.0.0.1:0\"\n[[zone]]\nname = \"example.test\"\nns = [\"ns.example.net.\"]\n\
         soa = { serial = 7 }\n[[zone.record]]\nname = \"api\"\ntype = \"A\"\npolicy = \"api\"\n[[site]]\nname = \"here\"\n\
         [policy.api.private]\nendpoints = [{ site = \"here\", address = \"192.0.2.1\" }, { site = \"here\", address = \"192.0.2.2\" }]\n";
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("dns.toml");
    std::fs::write(&file, written).unwrap();
    let learned = crate::learned::Learned::default();
    let compiled = crate::compile::compile(&file, &learned).unwrap();
    let chooser = compiled.state.chooser.clone().unwrap();
    let version = Version::of(&compiled.state.zones[0], &*chooser).unwrap();
    let addresses = version.records.iter().filter(|entry| entry.rtype == 1);
    let addresses: Vec<&[u8]> = addresses.map(|entry| &*entry.data).collect();
    assert_eq!(addresses, [&[192, 0, 2, 1][..], &[192, 0, 2, 2]]);
    assert_eq!(version.serial(), 7);
}

#[test]
fn serials_go_round() {
    assert!(is_newer(1, 0) && is_newer(0, u32::MAX) && is_newer(1 << 30, 0));
    assert!(!is_newer(0, 0) && !is_newer(0, 1) && !is_newer(u32::MAX, 0));
    assert!(
        !is_newer(1 << 31, 0) && !is_newer(0, 1 << 31),
        "neither is the later one"
    );
}
