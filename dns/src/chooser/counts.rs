//! Which site answers led to, counted over all configurations.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use chassis::telemetry::Cells;

use crate::geo::SiteId;
use crate::policy::{Outcome, Picked};

/// Choices by site and outcome, since the start. Sites are known by their names, so that a reload counts on.
#[derive(Debug)]
pub struct SiteCounts {
    cells: Cells,
    /// The place of each site that was ever configured. Queries do not take the lock.
    places: Mutex<BTreeMap<String, usize>>,
}

/// Where a chooser counts for each of its sites.
#[derive(Debug)]
pub(super) struct Places(Box<[usize]>);

const OUTCOMES: [(Outcome, &str); 4] = [
    (Outcome::Answer, "answer"),
    (Outcome::LastResort, "last_resort"),
    (Outcome::Fail, "fail"),
    (Outcome::Nothing, "nothing"),
];

/// The place of answers that lead to no site, and of sites beyond the most.
const NOWHERE: usize = 0;
/// Twice as many as a configuration can have.
const MOST: usize = 2000;

impl Default for SiteCounts {
    fn default() -> Self {
        Self {
            cells: Cells::new((MOST + 1) * OUTCOMES.len()),
            places: Mutex::default(),
        }
    }
}

impl SiteCounts {
    /// The places of sites, in the order of their numbers.
    pub(super) fn places<'a>(&self, sites: impl Iterator<Item = &'a str>) -> Places {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let place = |name: &str| {
            if let Some(place) = places.get(name) {
                return *place;
            }
            let next = places.len() + 1;
            if next > MOST {
                return NOWHERE;
            }
            places.insert(name.to_owned(), next);
            next
        };
        Places(sites.map(place).collect())
    }

    /// Counts a choice.
    pub(super) fn count(&self, places: &Places, picked: &Picked<'_>) {
        let site = picked.of().map(|(_, site)| SiteId::index(site));
        let place = site.and_then(|site| places.0.get(site)).copied();
        let outcome = picked.outcome();
        let outcome = OUTCOMES.iter().position(|(one, _)| *one == outcome);
        let at = place.unwrap_or(NOWHERE) * OUTCOMES.len() + outcome.unwrap_or_default();
        self.cells.add(at, 1);
    }

    /// Every count that is not 0: the site, empty for none, and the outcome.
    pub(crate) fn all(&self) -> Vec<(String, &'static str, u64)> {
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let named = places.iter().map(|(name, place)| (name.as_str(), *place));
        let mut all = Vec::new();
        for (name, place) in std::iter::once(("", NOWHERE)).chain(named) {
            for (at, (_, outcome)) in OUTCOMES.iter().enumerate() {
                let count = self.cells.sum(place * OUTCOMES.len() + at);
                if count > 0 {
                    all.push((name.to_owned(), *outcome, count));
                }
            }
        }
        all
    }
}
