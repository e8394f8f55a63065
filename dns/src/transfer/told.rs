//! The zones that others may copy: their versions, word of them, and the transfers that run.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::journal::{Change, Journal, News, Since};
use super::notify::Notifier;
use super::rules::Rules;
use super::secondary::Secondaries;
use super::slots::Slots;
use super::version::Version;
use crate::answer::{Choose, NoPolicies};
use crate::state::State;
use crate::zone::{Name, Zone};

/// What others are told of. It outlives reloads.
#[derive(Debug, Default)]
pub(crate) struct Told {
    journals: Mutex<Journals>,
    notifier: Notifier,
    pub(super) slots: Slots,
    outcomes: [AtomicU64; 4],
}

#[derive(Debug, Default)]
struct Journals {
    by_zone: BTreeMap<Name, Journal>,
    /// The configured zones that the journals know, so that they are not looked at again.
    seen: Option<Arc<[Arc<Zone>]>>,
}

/// How a request for a transfer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The whole zone was sent.
    Whole,
    /// What had changed was sent, or that nothing had.
    Changes,
    /// The client went or was too slow.
    Cut,
    /// It was not allowed, or there were too many.
    Refused,
}

impl Outcome {
    pub(crate) const ALL: [(Self, &str); 4] = [
        (Self::Whole, "whole"),
        (Self::Changes, "changes"),
        (Self::Cut, "cut"),
        (Self::Refused, "refused"),
    ];
}

impl Told {
    fn lock(&self) -> MutexGuard<'_, Journals> {
        self.journals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of the zones that are served now, and tells others of what is new. One at a time may do so.
    pub(crate) fn publish(&self, state: &State, secondaries: &Secondaries) {
        let zones = &state.transfers.zones;
        let told = |apex: &Name| zones.get(apex).filter(|rules| rules.is_told());
        let seen = {
            let mut journals = self.lock();
            journals.by_zone.retain(|apex, _| told(apex).is_some());
            journals.seen.replace(state.zones.clone())
        };
        let seen = seen.is_some_and(|seen| Arc::ptr_eq(&seen, &state.zones));
        for zone in state.zones.iter() {
            let Some(rules) = told(&zone.apex) else {
                continue;
            };
            let version = match &rules.source {
                Some(_) => secondaries.version(&zone.apex),
                None if seen => continue,
                None => {
                    let chooser = state.chooser.as_deref();
                    let chooser = chooser.map_or(&NoPolicies as &dyn Choose, |chooser| chooser);
                    Version::of(zone, chooser).map(Arc::new)
                }
            };
            match version {
                Some(version) => self.advance(version, rules, state.transfers.journal),
                // It has expired: nobody gets it.
                None => _ = self.lock().by_zone.remove(&zone.apex),
            }
        }
    }

    /// Takes note of a version. What takes long is done without the lock, for which requests wait.
    fn advance(&self, version: Arc<Version>, rules: &Rules, most: usize) {
        let soa = version.soa.clone();
        let (zone, serial) = (&soa.owner, version.serial());
        let before = self
            .lock()
            .by_zone
            .get(zone)
            .map(|journal| journal.current().clone());
        let news = match before {
            Some(before) => {
                let change = Change::between(&before, version);
                let news = change.news;
                if let Some(journal) = self.lock().by_zone.get_mut(zone) {
                    journal.advance(change, most);
                }
                news
            }
            None => {
                let journal = Journal::new(version);
                self.lock().by_zone.insert(zone.clone(), journal);
                News::Later
            }
        };
        match news {
            News::Nothing => return,
            News::Later => {}
            News::SameSerial => {
                tracing::warn!(%zone, serial, "the zone has changed and its serial has not: no other server notices");
            }
            News::Earlier => {
                tracing::warn!(%zone, serial, "the serial is lower than before: other servers keep what they have");
            }
        }
        if !rules.notify.is_empty() {
            self.notifier.tell(&soa, &rules.notify);
        }
    }

    /// The version of a zone, and what someone with an earlier one needs; someone without one needs all.
    pub(super) fn since(&self, apex: &[u8], serial: Option<u32>) -> Option<(Arc<Version>, Since)> {
        let journals = self.lock();
        let journal = journals.by_zone.get(apex)?;
        let since = serial.map_or(Since::Whole, |serial| journal.since(serial));
        Some((journal.current().clone(), since))
    }

    /// Counts a transfer.
    pub(crate) fn count(&self, outcome: Outcome) {
        self.outcomes[outcome as usize].fetch_add(1, Relaxed);
    }

    /// How many transfers ended so.
    pub(crate) fn counted(&self, outcome: Outcome) -> u64 {
        self.outcomes[outcome as usize].load(Relaxed)
    }

    /// How many run.
    pub(crate) fn running(&self) -> u32 {
        self.slots.running()
    }

    /// The versions of zones that others may copy.
    pub(crate) fn serials(&self) -> Vec<(String, u32)> {
        let journals = self.lock();
        let serials = journals.by_zone.iter();
        serials
            .map(|(apex, journal)| (apex.to_string(), journal.current().serial()))
            .collect()
    }
}
