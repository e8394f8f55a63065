//! How new what is read has to be: the store's positions as the cache carries them.

use cache::{Mark, Need, Seen};
use store::{Freshness, Position};

/// What a cache keeps in the place of what was changed at a position.
pub(crate) fn mark(position: &Position) -> Option<Mark> {
    (!position.is_everywhere()).then(|| Mark(position.to_string()))
}

/// Which readers of the store fulfil a need.
pub(crate) fn freshness(need: Need) -> Freshness {
    match need {
        Need::Any => Freshness::Bounded,
        // Whatever somebody has written there instead: the primary is new enough for it.
        Need::After(Mark(text)) => match text.parse() {
            Ok(position) => Freshness::After(position),
            Err(_) => Freshness::Latest,
        },
        Need::Latest => Freshness::Latest,
    }
}

/// Nothing older than a version and a position.
pub(crate) fn seen(version: u64, position: &Position) -> Seen {
    Seen {
        version,
        mark: mark(position),
    }
}
