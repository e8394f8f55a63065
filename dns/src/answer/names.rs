//! Names to numbers: a table that is built once and only read from then on.

use std::hash::Hasher;

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
            // At least every second slot is empty.
            let slot = self.slots[at];
            if slot.number == NONE {
                return None;
            }
            if slot.hash == hash && self.name(slot.number) == name {
                return Some(slot.number);
            }
            at = (at + 1) & (self.slots.len() - 1);
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
            assert_eq!(table.name(number as u32), name);
        }
        assert_eq!(table.get(b"\x041000\0"), None);
        assert_eq!(NameTable::new([].into_iter()).get(b"\0"), None);
    }
}
