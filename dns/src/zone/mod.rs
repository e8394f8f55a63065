//! Zones as their owners write them: in TOML and in zone files, judged as a whole.
//!
//! ```text
//! [[zone]] -> file (scan) and records (table) -> Zone -> check: mistakes and warnings
//! ```

mod binary;
mod check;
mod fields;
mod file;
mod generate;
mod location;
mod name;
mod read;
mod scan;
mod set;
mod soa;
mod spelling;
mod stored;
mod table;
mod tokens;

use std::collections::BTreeMap;

use chassis::config::Place;

pub use self::name::{Name, labels, parent, shown, suffixes};
pub(crate) use self::read::judge_received;
pub use self::read::{Read, read};
pub(crate) use self::set::name_end;
pub use self::set::{Record, RecordSet, Sets};
pub(crate) use self::stored::file_name;

use crate::wire::rtype;

/// A zone: everything below its apex that is not another zone's.
#[derive(Clone, Debug)]
pub struct Zone {
    /// Its name.
    pub apex: Name,
    /// Where it is configured.
    pub place: Place,
    /// Record sets, by name and type. Empty non-terminals are not in it.
    pub names: BTreeMap<Name, Sets>,
}

impl Zone {
    /// The record set of a name and type.
    pub fn set(&self, name: &[u8], rtype: u16) -> Option<&RecordSet> {
        self.names.get(name)?.of(rtype)
    }

    /// Every record set, with its name.
    pub fn sets(&self) -> impl Iterator<Item = (&Name, &RecordSet)> {
        let names = self.names.iter();
        names.flat_map(|(name, sets)| sets.iter().map(move |set| (name, set)))
    }

    /// The name at or above `name` where a delegation or a DNAME takes over, nearest to the apex. A
    /// DNAME takes over only what is below it.
    pub fn cut<'a>(&self, name: &'a [u8]) -> Option<&'a [u8]> {
        let above: Vec<&'a [u8]> = suffixes(name)
            .take_while(|suffix| *suffix != &*self.apex)
            .collect();
        let is_cut = |at: &&[u8]| {
            let below = *at != name;
            self.set(at, rtype::NS).is_some() || below && self.set(at, rtype::DNAME).is_some()
        };
        if name != &*self.apex && self.set(&self.apex, rtype::DNAME).is_some() {
            // Nothing stands below a DNAME.
            return name.get(name.len().checked_sub(self.apex.len())?..);
        }
        above.into_iter().rev().find(is_cut)
    }
}

#[cfg(test)]
mod tests;
