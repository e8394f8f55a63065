//! What the kernel has counted, read without `nft`: that would load every slot before it answers.

use std::collections::BTreeMap;
use std::io;

use super::netlink::{Netlink, Request, attribute, find};

/// What a counter of nftables holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) packets: u64,
    pub(super) bytes: u64,
}

/// Every counter of a table by its name; none when there is no such table.
pub(super) fn read(netlink: &mut Netlink, table: &str) -> io::Result<BTreeMap<String, Count>> {
    let list = Request {
        subsystem: NFTABLES,
        what: GET_OBJECTS,
        family: INET,
    };
    let mut wanted = attribute(TABLE, format!("{table}\0").as_bytes());
    wanted.extend(attribute(TYPE, &COUNTER.to_be_bytes()));
    let mut counts = BTreeMap::new();
    let outcome = netlink.dump(list, &wanted, |object| {
        if let Some((name, count)) = parse(object, table) {
            counts.insert(name, count);
        }
    });
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(counts),
        outcome => outcome.map(|()| counts),
    }
}

/// Whether there is a table of this name.
pub(super) fn is_there(netlink: &mut Netlink, table: &str) -> io::Result<bool> {
    let list = Request {
        subsystem: NFTABLES,
        what: GET_TABLES,
        family: INET,
    };
    let mut found = false;
    let named = |bytes: &[u8]| bytes.strip_suffix(b"\0") == Some(table.as_bytes());
    netlink.dump(list, &[], |one| {
        found |= find(one, TABLE).is_some_and(named);
    })?;
    Ok(found)
}

fn parse(object: &[u8], table: &str) -> Option<(String, Count)> {
    let text = |kind| {
        let bytes = find(object, kind)?;
        std::str::from_utf8(bytes.strip_suffix(b"\0")?).ok()
    };
    let data = find(object, DATA)?;
    let number = |kind| {
        let bytes = find(data, kind)?;
        Some(u64::from_be_bytes(bytes.try_into().ok()?))
    };
    let count = Count {
        packets: number(PACKETS)?,
        bytes: number(BYTES)?,
    };
    (text(TABLE)? == table).then_some((text(NAME)?.to_owned(), count))
}

// linux/netfilter/nf_tables.h
const NFTABLES: u8 = 10;
const GET_TABLES: u8 = 1;
const GET_OBJECTS: u8 = 19;
const INET: u8 = 1;
const TABLE: u16 = 1;
const NAME: u16 = 2;
const TYPE: u16 = 3;
const COUNTER: u32 = 1;
const DATA: u16 = 4;
const BYTES: u16 = 1;
const PACKETS: u16 = 2;
