//! The name that is asked for.

use std::fmt;

use super::{LONGEST_LABEL, LONGEST_NAME};

/// A name in wire form and lower case, with where its labels begin. Made once, filled again for each query.
pub struct QueryName {
    bytes: [u8; LONGEST_NAME],
    len: u8,
    labels: u8,
    /// Where each label begins; the one after the last is where the root's octet stands.
    starts: [u8; MOST_LABELS + 1],
}

/// So many labels fit into a name, without the root's.
const MOST_LABELS: usize = 127;

impl Default for QueryName {
    fn default() -> Self {
        Self {
            bytes: [0; LONGEST_NAME],
            len: 1,
            labels: 0,
            starts: [0; MOST_LABELS + 1],
        }
    }
}

impl QueryName {
    /// Reads the name at the beginning of `bytes`, which is not compressed; how long it is there.
    /// None when it is not a name.
    pub(crate) fn read(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        let mut labels = 0;
        loop {
            let length = usize::from(*bytes.get(at)?);
            // Two labels at least make a name longer than its number of labels: at most 127 fit.
            *self.starts.get_mut(labels)? = at as u8;
            if length == 0 {
                break;
            }
            // Pointers and other kinds of labels have bits there.
            if length > LONGEST_LABEL {
                return None;
            }
            at += 1 + length;
            labels += 1;
            if at >= LONGEST_NAME {
                return None;
            }
        }
        let end = at + 1;
        let name = &mut self.bytes[..end];
        name.copy_from_slice(&bytes[..end]);
        // Lengths are below 64, and so are no letters.
        name.make_ascii_lowercase();
        self.len = end as u8;
        self.labels = labels as u8;
        Some(end)
    }

    /// Reads a name in wire form, such as one of a zone.
    pub fn set(&mut self, wire: &[u8]) -> bool {
        self.read(wire) == Some(wire.len())
    }

    /// The whole name.
    pub fn wire(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// How many labels it has, without the root's.
    pub fn labels(&self) -> usize {
        self.labels.into()
    }

    /// The name without its first labels: with `skip` at most [`Self::labels`].
    pub fn suffix(&self, skip: usize) -> &[u8] {
        let start = self.starts[skip.min(self.labels())];
        &self.wire()[usize::from(start)..]
    }
}

impl fmt::Debug for QueryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.wire().escape_ascii().to_string())
    }
}
