//! Record sets.

use chassis::config::{Located, Place};

use crate::wire::rtype;

/// The records of one name and type.
#[derive(Clone, Debug)]
pub struct RecordSet {
    /// Their type.
    pub rtype: u16,
    /// How long they may be kept, in seconds.
    pub ttl: u32,
    /// Where the first of them is written.
    pub place: Place,
    /// The data of each, in wire form and not compressed. None without a policy when nobody knows them now: SERVFAIL.
    pub records: Vec<Record>,
    /// Who chooses the records for a client; then there are none here.
    pub policy: Option<Located<String>>,
}

/// The data of one record.
#[derive(Clone, Debug)]
pub struct Record {
    /// In wire form, not compressed.
    pub data: Vec<u8>,
    /// Where it is written.
    pub place: Place,
}

impl RecordSet {
    /// The name that each record leads to: of a server, or another name for this one.
    pub fn targets(&self) -> impl Iterator<Item = (&Record, Box<[u8]>)> {
        let names = rtype::names(self.rtype);
        let leads = names.count == 1;
        let records = self.records.iter().filter(move |_| leads);
        records.filter_map(move |record| {
            let wire = record.data.get(names.offset..)?;
            let end = name_end(wire)?;
            let target = wire[..end].to_ascii_lowercase();
            Some((record, target.into_boxed_slice()))
        })
    }
}

/// Octets of the name that stands at the beginning.
pub(crate) fn name_end(wire: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        match usize::from(*wire.get(at)?) {
            0 => return Some(at + 1),
            length => at += 1 + length,
        }
    }
}
