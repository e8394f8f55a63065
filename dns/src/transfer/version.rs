//! One version of a zone as a list of records, and what changes from one to the next.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use chassis::config::Place;

use crate::answer::Choose;
use crate::wire::rtype::{ALIAS, SOA};
use crate::zone::{Name, Record, RecordSet, Sets, Zone};

/// A record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub owner: Name,
    /// Its type.
    pub rtype: u16,
    /// How long it may be kept, in seconds.
    pub ttl: u32,
    /// In wire form, not compressed.
    pub data: Box<[u8]>,
}

/// A zone as it was or is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// The SOA record.
    pub soa: Entry,
    /// Every other record, in order, each once.
    pub records: Arc<[Entry]>,
}

/// What changes from one version to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The SOA record before.
    pub from: Entry,
    /// The SOA record after.
    pub to: Entry,
    /// Records that go.
    pub removed: Arc<[Entry]>,
    /// Records that come.
    pub added: Arc<[Entry]>,
}

/// Changes do not fit the version that they are said to change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the changes do not fit our version")]
pub struct Misfit;

/// The times of a SOA record, in seconds (RFC 1035, 3.3.13).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// The version.
    pub serial: u32,
    /// Until the next look at the primary.
    pub refresh: u32,
    /// Until the next look after one that failed.
    pub retry: u32,
    /// How long it serves without the primary.
    pub expire: u32,
}

impl Entry {
    fn order(&self, other: &Self) -> Ordering {
        self.owner
            .cmp(&other.owner)
            .then_with(|| self.rtype.cmp(&other.rtype))
            .then_with(|| self.data.cmp(&other.data))
    }

    /// The times of a SOA record; none of any other, or one that is broken.
    pub fn times(&self) -> Option<Times> {
        let numbers: [u8; 20] = *self.data.last_chunk()?;
        let number = |at: usize| {
            let octets = [0, 1, 2, 3].map(|octet| numbers[at * 4 + octet]);
            u32::from_be_bytes(octets)
        };
        (self.rtype == SOA).then(|| Times {
            serial: number(0),
            refresh: number(1),
            retry: number(2),
            expire: number(3),
        })
    }

    /// Octets that it takes in a message, without compression.
    pub fn octets(&self) -> usize {
        self.owner.len() + 10 + self.data.len()
    }
}

/// Whether a serial is a later one (RFC 1982, 3.2).
pub fn is_newer(serial: u32, than: u32) -> bool {
    serial != than && serial.wrapping_sub(than) < 1 << 31
}

impl Version {
    /// A version of its records, in any order; one that is there twice counts once.
    pub fn new(soa: Entry, mut records: Vec<Entry>) -> Self {
        records.sort_by(Entry::order);
        records.dedup_by(|one, other| one.order(other).is_eq());
        Self {
            soa,
            records: records.into(),
        }
    }

    /// A zone as it is told to other servers: where a policy chooses, all that it may choose; without `ALIAS`
    /// records. None without SOA record.
    pub fn of(zone: &Zone, chooser: &dyn Choose) -> Option<Self> {
        let mut soa = None;
        let mut records = Vec::new();
        // Nobody else knows what an alias is.
        for (owner, set) in zone.sets().filter(|(_, set)| set.rtype != ALIAS) {
            let chosen = set
                .policy
                .as_ref()
                .and_then(|policy| chooser.policy(policy));
            let chosen = chosen
                .into_iter()
                .flat_map(|id| chooser.variants(id, set.rtype));
            let written = set.records.iter().map(|record| record.data.clone());
            for data in written.chain(chosen.flatten().map(Into::into)) {
                let entry = Entry {
                    owner: owner.clone(),
                    rtype: set.rtype,
                    ttl: set.ttl,
                    data,
                };
                match set.rtype {
                    SOA => soa = Some(entry),
                    _ => records.push(entry),
                }
            }
        }
        Some(Self::new(soa?, records))
    }

    /// The records as a zone. Sets get the least TTL of their records (RFC 2181, 5.2).
    pub fn to_zone(&self, place: Place) -> Zone {
        let mut names: BTreeMap<Name, Sets> = BTreeMap::new();
        for entry in self.records.iter().chain([&self.soa]) {
            let sets = names.entry(entry.owner.clone()).or_default();
            let set = sets.of_or(entry.rtype, || RecordSet {
                rtype: entry.rtype,
                ttl: entry.ttl,
                place,
                records: Vec::new(),
                policy: None,
            });
            set.ttl = set.ttl.min(entry.ttl);
            set.add(Record {
                data: entry.data.clone(),
                place,
            });
        }
        Zone {
            apex: self.soa.owner.clone(),
            place,
            names,
        }
    }

    /// The number of this version.
    pub fn serial(&self) -> u32 {
        self.soa.times().map_or(0, |times| times.serial)
    }

    /// What changes from this version to another.
    pub fn step_to(&self, next: &Self) -> Step {
        let (mut removed, mut added) = (Vec::new(), Vec::new());
        let (mut old, mut new) = (
            self.records.iter().peekable(),
            next.records.iter().peekable(),
        );
        loop {
            let order = match (old.peek(), new.peek()) {
                (Some(one), Some(other)) => one.order(other),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => break,
            };
            let gone = old.next_if(|_| order.is_le());
            let come = new.next_if(|_| order.is_ge());
            if order.is_eq() && gone == come {
                continue;
            }
            removed.extend(gone.cloned());
            added.extend(come.cloned());
        }
        Step {
            from: self.soa.clone(),
            to: next.soa.clone(),
            removed: removed.into(),
            added: added.into(),
        }
    }

    /// The version after some steps.
    ///
    /// # Errors
    /// When a record is to go that is not there, or to come that is.
    pub fn after(&self, steps: &[Step]) -> Result<Self, Misfit> {
        let mut changed: BTreeMap<Ordered<'_>, Option<&Entry>> = BTreeMap::new();
        let is_here = |entry: &Entry| {
            let found = self.records.binary_search_by(|other| other.order(entry));
            found.is_ok()
        };
        let mut soa = &self.soa;
        for step in steps {
            if step.from.times().map(|times| times.serial) != soa.times().map(|times| times.serial)
            {
                return Err(Misfit);
            }
            for (entries, come) in [(&step.removed, false), (&step.added, true)] {
                for entry in entries.iter() {
                    let known = changed.get(&Ordered(entry));
                    let there = known.map_or_else(|| is_here(entry), Option::is_some);
                    if there == come {
                        return Err(Misfit);
                    }
                    changed.insert(Ordered(entry), come.then_some(entry));
                }
            }
            soa = &step.to;
        }
        let kept = self.records.iter();
        let kept = kept.filter(|entry| !changed.contains_key(&Ordered(entry)));
        let come = changed.values().filter_map(|entry| *entry);
        let records = kept.chain(come).cloned().collect();
        Ok(Self::new(soa.clone(), records))
    }
}

/// A record by name, type and data.
struct Ordered<'a>(&'a Entry);

impl Ord for Ordered<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.order(other.0)
    }
}

impl PartialOrd for Ordered<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Ordered<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Ordered<'_> {}

#[cfg(test)]
mod tests;
