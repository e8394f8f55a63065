//! Record sets.

use chassis::config::{Located, Place};

use crate::wire::rtype;

/// The record sets of a name, in the order of their types. Most names have one or two, of which a zone has very many: they
/// take no more room than they need.
#[derive(Clone, Debug, Default)]
pub struct Sets(Vec<RecordSet>);

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
    pub policy: Option<Box<Located<String>>>,
}

/// The data of one record.
#[derive(Clone, Debug)]
pub struct Record {
    /// In wire form, not compressed.
    pub data: Box<[u8]>,
    /// Where it is written.
    pub place: Place,
}

impl Sets {
    /// The set of a type.
    pub fn of(&self, rtype: u16) -> Option<&RecordSet> {
        self.at(rtype).ok().map(|at| &self.0[at])
    }

    /// The same, to be changed; its type must stay.
    pub fn of_mut(&mut self, rtype: u16) -> Option<&mut RecordSet> {
        self.at(rtype).ok().map(|at| &mut self.0[at])
    }

    /// Every set.
    pub fn iter(&self) -> std::slice::Iter<'_, RecordSet> {
        self.0.iter()
    }

    /// The set of a type, which is made when there is none.
    pub(crate) fn of_or(&mut self, rtype: u16, make: impl FnOnce() -> RecordSet) -> &mut RecordSet {
        let at = self.at(rtype).unwrap_or_else(|at| {
            self.0.reserve_exact(1);
            self.0.insert(at, make());
            at
        });
        &mut self.0[at]
    }

    /// Adds a set, in the place of one of the same type.
    pub(crate) fn put(&mut self, set: RecordSet) {
        match self.at(set.rtype) {
            Ok(at) => self.0[at] = set,
            Err(at) => {
                self.0.reserve_exact(1);
                self.0.insert(at, set);
            }
        }
    }

    /// Takes the set of a type away.
    pub(crate) fn take(&mut self, rtype: u16) -> Option<RecordSet> {
        self.at(rtype).ok().map(|at| self.0.remove(at))
    }

    fn at(&self, rtype: u16) -> Result<usize, usize> {
        self.0.binary_search_by_key(&rtype, |set| set.rtype)
    }
}

impl<'a> IntoIterator for &'a Sets {
    type Item = &'a RecordSet;
    type IntoIter = std::slice::Iter<'a, RecordSet>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl RecordSet {
    /// Adds a record.
    pub(crate) fn add(&mut self, record: Record) {
        // Most sets have one.
        if self.records.is_empty() {
            self.records.reserve_exact(1);
        }
        self.records.push(record);
    }

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
