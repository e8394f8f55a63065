//! Names to numbers: a table that is built once and only read from then on.

use std::hash::Hasher;

use rustc_hash::FxHasher;

/// A hash table with linear probing, at most half full. Whoever chooses the names of queries has
/// no say in what it holds.
#[derive(Debug, Default)]
pub(super) struct NameTable {
    slots: Vec<Slot>,
    /// Every name, one after the other.
    bytes: Vec<u8>,
    places: Vec<Place>,
}

/// Empty when `number` is [`NONE`].
#[derive(Clone, Copy, Debug)]
struct Slot {
    /// The upper half of the name's hash.
    hash: u32,
    number: u32,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    start: u32,
    len: u8,
}

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
            bytes: Vec::new(),
            places: Vec::with_capacity(names.len()),
        };
        for name in names {
            table.add(name);
        }
        table
    }

    fn add(&mut self, name: &[u8]) {
        let number = self.places.len() as u32;
        self.places.push(Place {
            start: self.bytes.len() as u32,
            len: name.len() as u8,
        });
        self.bytes.extend_from_slice(name);
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
        let Place { start, len } = self.places[number as usize];
        &self.bytes[start as usize..start as usize + usize::from(len)]
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
        let names: Vec<Vec<u8>> = (0..1000).map(|n| format!("\x04{n:04}\0").into()).collect();
        let table = NameTable::new(names.iter().map(Vec::as_slice));
        for (number, name) in names.iter().enumerate() {
            assert_eq!(table.get(name), Some(number as u32));
            assert_eq!(table.name(number as u32), name);
        }
        assert_eq!(table.get(b"\x041000\0"), None);
        assert_eq!(NameTable::new([].into_iter()).get(b"\0"), None);
    }
}
