//! What stands under a key on a server: one letter, and what belongs to it.

use std::time::{Duration, SystemTime};

use crate::{Mark, Need};

/// What stands under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// `W`, its end, and a value as JSON; or `M` and its end: there is no value.
    Known(Option<Vec<u8>>, Until),
    /// `D`, a nonce, and how new a fill has to be: it was deleted.
    Deleted(Need),
}

/// When something ends, in milliseconds since the Unix epoch: eight bytes, the highest first. Whoever has it from a server knows by
/// this how long to keep it, as far as the clocks of processes agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Until(u64);

impl Until {
    pub(super) fn after(now: SystemTime, life: Duration) -> Self {
        let end = now + life;
        let end = end
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        Self(end.as_millis().try_into().unwrap_or(u64::MAX))
    }

    /// How long that is still; zero when it is over.
    pub(super) fn left(self, now: SystemTime) -> Duration {
        let now = now
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        Duration::from_millis(self.0).saturating_sub(now)
    }

    const fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(u64::from_be_bytes(bytes))
    }
}

/// Letters of a nonce.
pub(super) const NONCE: usize = 16;

impl Entry {
    /// As bytes. Each deletion is another one, so that a lease given before it does not fit.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Known(Some(json), Until(end)) => {
                [b"W", &end.to_be_bytes()[..], &json[..]].concat()
            }
            Self::Known(None, Until(end)) => [b"M", &end.to_be_bytes()[..]].concat(),
            Self::Deleted(need) => format!("D{}{}", nonce(), text_of(need)).into_bytes(),
        }
    }

    /// None for leases, and for what is no entry: what an older version has left, for one.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        match (kind, rest) {
            (b'W', rest) => {
                let (end, json) = rest.split_first_chunk()?;
                Some(Self::Known(Some(json.to_vec()), Until::from_bytes(*end)))
            }
            (b'M', rest) => {
                let end = Until::from_bytes(rest.try_into().ok()?);
                Some(Self::Known(None, end))
            }
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

/// Whether somebody is about to fill it.
pub(super) fn is_lease(bytes: &[u8]) -> bool {
    bytes.first() == Some(&b'L') && bytes.len() == 1 + NONCE
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
            Entry::Known(Some(b"{}".to_vec()), Until(u64::MAX)),
            Entry::Known(Some(Vec::new()), Until(0)),
            Entry::Known(None, Until(1)),
            Entry::Deleted(Need::Any),
            Entry::Deleted(Need::Latest),
            Entry::Deleted(Need::After(Mark("3.0-1-42".into()))),
        ] {
            assert_eq!(Entry::from_bytes(&entry.to_bytes()), Some(entry));
        }
        assert_eq!(Entry::from_bytes(&new_lease()), None);
        assert!(is_lease(&new_lease()) && !is_lease(b"L"));
        for older in [&b"N"[..], b"V{}", b"W", b"M123456789"] {
            assert_eq!(Entry::from_bytes(older), None);
        }
    }

    #[test]
    fn what_is_left_shrinks_to_nothing() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let until = Until::after(now, Duration::from_secs(60));
        let later = |seconds| until.left(now + Duration::from_secs(seconds));
        assert_eq!(later(0), Duration::from_secs(60));
        assert_eq!(later(59), Duration::from_secs(1));
        assert_eq!(later(61), Duration::ZERO);
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
