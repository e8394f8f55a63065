//! Names to numbers: a table that is built once and only read from then on.

use std::hash::Hasher;
use std::hint::black_box;

use rustc_hash::FxHasher;

/// A hash table with linear probing, at most half full. Whoever chooses the names of queries has
/// no say in what it holds.
#[derive(Debug, Default)]
pub(super) struct NameTable {
    slots: Vec<Slot>,
    /// By number.
    entries: Vec<Entry>,
    /// The names that are too long for their entries, one after the other.
    long: Vec<u8>,
}

/// Empty when `number` is [`NONE`].
#[derive(Clone, Copy, Debug)]
struct Slot {
    /// The upper half of the name's hash.
    hash: u32,
    number: u32,
}

/// A look-up under way.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Probe {
    hash: u32,
    /// The slot where it begins.
    at: u32,
    /// The name with the same hash; [`NONE`] without one.
    number: u32,
}

/// A name. Most have room here, so that to compare one costs a single line of the cache.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Entry {
    short: [u8; SHORT],
    len: u8,
    /// Where it begins in `long`, when it is longer.
    start: u32,
}

/// So many octets of a name fit into an entry.
const SHORT: usize = 56;

const NONE: u32 = u32::MAX;

impl Probe {
    /// The name with the same hash, which may be another.
    pub(super) fn candidate(self) -> Option<u32> {
        Some(self.number).filter(|number| *number != NONE)
    }
}

impl NameTable {
    /// A table of names that differ, each numbered by its position.
    pub(super) fn new<'a>(names: impl ExactSizeIterator<Item = &'a [u8]>) -> Self {
        let empty = Slot {
            hash: 0,
            number: NONE,
        };
        let mut table = Self {
            slots: vec![empty; (names.len() * 2).next_power_of_two().max(2)],
            entries: Vec::with_capacity(names.len()),
            long: Vec::new(),
        };
        for name in names {
            table.add(name);
        }
        table
    }

    fn add(&mut self, name: &[u8]) {
        let number = self.entries.len() as u32;
        let mut entry = Entry {
            short: [0; SHORT],
            len: name.len() as u8,
            start: self.long.len() as u32,
        };
        match entry.short.get_mut(..name.len()) {
            Some(short) => short.copy_from_slice(name),
            None => self.long.extend_from_slice(name),
        }
        self.entries.push(entry);
        let (hash, mut at) = self.start_of(name);
        while self.slots[at].number != NONE {
            at = (at + 1) & (self.slots.len() - 1);
        }
        self.slots[at] = Slot { hash, number };
    }

    /// The number of a name.
    pub(super) fn get(&self, name: &[u8]) -> Option<u32> {
        let (hash, mut at) = self.start_of(name);
        loop {
            let number = self.candidate(hash, &mut at)?;
            if self.name(number) == name {
                return Some(number);
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
    }

    /// The first step of a look-up in three, between which others take theirs: its slot comes nearer.
    pub(super) fn begin(&self, name: &[u8]) -> Probe {
        let (hash, at) = self.start_of(name);
        black_box(self.slots[at].number);
        Probe {
            hash,
            at: at as u32,
            number: NONE,
        }
    }

    /// The second step: the name comes nearer that has the same hash.
    pub(super) fn look(&self, probe: &mut Probe) {
        let mut at = probe.at as usize;
        probe.number = NONE;
        if let Some(number) = self.candidate(probe.hash, &mut at) {
            black_box(self.entries[number as usize].len);
            probe.number = number;
        }
    }

    /// The last step: the number of the name.
    pub(super) fn confirm(&self, probe: Probe, name: &[u8]) -> Option<u32> {
        let number = probe.candidate()?;
        match self.name(number) == name {
            true => Some(number),
            // Another name has the same half of a hash.
            false => self.get(name),
        }
    }

    /// The number in the first slot with this hash, from the slot `at` on, which becomes that slot.
    fn candidate(&self, hash: u32, at: &mut usize) -> Option<u32> {
        loop {
            // At least every second slot is empty.
            let slot = self.slots[*at];
            if slot.number == NONE {
                return None;
            }
            if slot.hash == hash {
                return Some(slot.number);
            }
            *at = (*at + 1) & (self.slots.len() - 1);
        }
    }

    /// The name of a number.
    pub(super) fn name(&self, number: u32) -> &[u8] {
        let entry = &self.entries[number as usize];
        let len = usize::from(entry.len);
        let start = entry.start as usize;
        entry
            .short
            .get(..len)
            .unwrap_or_else(|| &self.long[start..start + len])
    }

    fn start_of(&self, name: &[u8]) -> (u32, usize) {
        let mut hasher = FxHasher::default();
        hasher.write(name);
        let hash = hasher.finish();
        ((hash >> 32) as u32, hash as usize & (self.slots.len() - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_and_no_other() {
        let name = |n: usize| {
            let long = "\x3f".to_owned() + &"x".repeat(63);
            // Some fit into their entries, some do not.
            format!("\x04{n:04}{}\0", long.repeat(n % 3)).into_bytes()
        };
        let names: Vec<Vec<u8>> = (0..1000).map(name).collect();
        let table = NameTable::new(names.iter().map(Vec::as_slice));
        for (number, name) in names.iter().enumerate() {
            assert_eq!(table.get(name), Some(number as u32));
            assert_eq!(in_steps(&table, name), Some(number as u32));
            assert_eq!(table.name(number as u32), name);
        }
        assert_eq!(table.get(b"\x041000\0"), None);
        assert_eq!(in_steps(&table, b"\x041000\0"), None);
        assert_eq!(NameTable::new([].into_iter()).get(b"\0"), None);
    }

    fn in_steps(table: &NameTable, name: &[u8]) -> Option<u32> {
        let mut probe = table.begin(name);
        table.look(&mut probe);
        table.confirm(probe, name)
    }

    #[test]
    fn a_name_with_the_hash_of_another_is_found_too() {
        let names: [&[u8]; 2] = [b"\x01a\0", b"\x01b\0"];
        let mut table = NameTable::new(names.into_iter());
        let (hash, at) = table.start_of(names[1]);
        // As if both had this hash, and the first had come first.
        table.slots.fill(Slot {
            hash: 0,
            number: NONE,
        });
        table.slots[at] = Slot { hash, number: 0 };
        let next = (at + 1) & (table.slots.len() - 1);
        table.slots[next] = Slot { hash, number: 1 };
        assert_eq!(table.get(names[1]), Some(1));
        assert_eq!(in_steps(&table, names[1]), Some(1));
    }
}
