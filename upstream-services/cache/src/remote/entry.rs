//! What stands under a key on a server: one letter, and what belongs to it.

use crate::{Mark, Need};

/// What stands under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// `V` and a value as JSON.
    Value(Vec<u8>),
    /// `N`: there is no value.
    Absent,
    /// `D`, a nonce, and how new a fill has to be: it was deleted.
    Deleted(Need),
}

/// Letters of a nonce.
pub(super) const NONCE: usize = 16;

impl Entry {
    /// As bytes. Each deletion is another one, so that a lease given before it does not fit.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Value(json) => [b"V", &json[..]].concat(),
            Self::Absent => b"N".to_vec(),
            Self::Deleted(need) => format!("D{}{}", nonce(), text_of(need)).into_bytes(),
        }
    }

    /// None for what is no entry, and for leases.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        match (kind, rest) {
            (b'V', json) => Some(Self::Value(json.to_vec())),
            (b'N', []) => Some(Self::Absent),
            (b'D', rest) => {
                let need = std::str::from_utf8(rest.get(NONCE..)?).ok()?;
                Some(Self::Deleted(need_of(need)))
            }
            _ => None,
        }
    }
}

/// How new a fill has to be: nothing, a mark, or [`LATEST`].
pub(super) fn text_of(need: &Need) -> &str {
    match need {
        Need::Any => "",
        Need::After(Mark(mark)) => mark,
        Need::Latest => LATEST,
    }
}

/// The other way round.
pub(super) fn need_of(text: &str) -> Need {
    match text {
        "" => Need::Any,
        LATEST => Need::Latest,
        mark => Need::After(Mark(mark.to_owned())),
    }
}

/// No mark.
pub(super) const LATEST: &str = "*";

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
            Entry::Deleted(Need::Any),
            Entry::Deleted(Need::Latest),
            Entry::Deleted(Need::After(Mark("3.0-1-42".into()))),
        ] {
            assert_eq!(Entry::from_bytes(&entry.to_bytes()), Some(entry));
        }
        assert_eq!(Entry::from_bytes(&new_lease()), None);
    }

    #[test]
    fn no_two_deletions_and_leases_are_alike() {
        let deleted = Entry::Deleted(Need::Any);
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
