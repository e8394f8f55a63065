//! What stands under a key on a server: one letter, and what belongs to it.

use crate::Mark;

/// What stands under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// `V` and a value as JSON.
    Value(Vec<u8>),
    /// `N`: there is no value.
    Absent,
    /// `D`, a nonce, and how new a fill has to be: it was deleted.
    Deleted(Option<Mark>),
}

/// Letters of a nonce.
const NONCE: usize = 16;

impl Entry {
    /// As bytes. Each deletion is another one, so that a lease given before it does not fit.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Value(json) => [b"V", &json[..]].concat(),
            Self::Absent => b"N".to_vec(),
            Self::Deleted(mark) => {
                let mark = mark.as_ref().map_or("", |mark| &mark.0);
                format!("D{}{mark}", nonce()).into_bytes()
            }
        }
    }

    /// None for what is no entry, and for leases.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        match (kind, rest) {
            (b'V', json) => Some(Self::Value(json.to_vec())),
            (b'N', []) => Some(Self::Absent),
            (b'D', rest) => {
                let mark = std::str::from_utf8(rest.get(NONCE..)?).ok()?;
                let mark = (!mark.is_empty()).then(|| Mark(mark.to_owned()));
                Some(Self::Deleted(mark))
            }
            _ => None,
        }
    }
}

/// `L` and a nonce: somebody is about to fill it.
pub(super) fn new_lease() -> Vec<u8> {
    format!("L{}", nonce()).into_bytes()
}

fn nonce() -> String {
    format!("{:016x}", rand::random::<u64>())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn entries_read_back() {
        for entry in [
            Entry::Value(b"{}".to_vec()),
            Entry::Absent,
            Entry::Deleted(None),
            Entry::Deleted(Some(Mark("3.0-1-42".into()))),
        ] {
            assert_eq!(Entry::from_bytes(&entry.to_bytes()), Some(entry));
        }
        assert_eq!(Entry::from_bytes(&new_lease()), None);
    }

    #[test]
    fn no_two_deletions_and_leases_are_alike() {
        let deleted = Entry::Deleted(None);
        assert_ne!(deleted.to_bytes(), deleted.to_bytes());
        assert_ne!(new_lease(), new_lease());
    }

    proptest! {
        #[test]
        fn anything_may_stand_there(bytes: Vec<u8>) {
            let _ = Entry::from_bytes(&bytes);
        }
    }
}
