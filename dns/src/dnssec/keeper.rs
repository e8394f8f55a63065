//! Has the answers compiled anew when keys or signatures are to be replaced, or when somebody else changed key files.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::file::Mark;
use super::zones::{SignedZone, SignedZones, unix_now};
use crate::learned::Learned;
use crate::serve::Shared;

/// How often is looked.
const TICK: Duration = Duration::from_secs(1);
/// After what had to be done was told and nothing came of it, unless somebody changes a key file before.
const AGAIN: Duration = Duration::from_secs(30);
/// Signatures that are old are made anew together: at most so often while they hold.
const PASSES: u32 = 200;
/// So far a clock may be put back without a new signature, in seconds.
const SKEW: u64 = 60;

/// Looks for ever.
pub(crate) async fn keep(shared: Arc<Shared>, learned: Arc<Learned>) {
    let mut told: Option<Told> = None;
    loop {
        let signed = shared.state.load().signed.clone();
        let already = told.as_ref().is_some_and(|told| told.stands(&signed));
        if !already && is_due(&signed, unix_now()) {
            // Before the files are read: what changes afterwards is noticed.
            let marks = signed.marks();
            learned.tell();
            told = Some(Told {
                signed,
                at: Instant::now(),
                marks,
            });
        }
        tokio::time::sleep(TICK).await;
    }
}

/// That something had to be done.
struct Told {
    /// For these, which are others once it is done.
    signed: Arc<SignedZones>,
    at: Instant,
    marks: Vec<Mark>,
}

impl Told {
    /// Whether telling it again would lead to the same.
    fn stands(&self, signed: &Arc<SignedZones>) -> bool {
        Arc::ptr_eq(&self.signed, signed)
            && self.at.elapsed() < AGAIN
            && self.marks == signed.marks()
    }
}

fn is_due(signed: &SignedZones, now: u64) -> bool {
    let Some(folder) = &signed.folder else {
        return false;
    };
    let repaired = |zone: &SignedZone| {
        let seen = zone.unusable.as_ref();
        seen.is_some_and(|seen| *seen != folder.marks(std::iter::once(&zone.zone)))
    };
    let mut zones = signed.zones.iter();
    zones.any(|zone| zone.is_due(now) || repaired(zone)) || folder.changed() != signed.seen
}

impl SignedZones {
    fn marks(&self) -> Vec<Mark> {
        let zones = self.zones.iter().map(|zone| &zone.zone);
        let folder = self.folder.as_ref();
        folder.map_or_else(Vec::new, |folder| folder.marks(zones))
    }
}

impl SignedZone {
    /// Whether its keys or signatures are to be looked at.
    fn is_due(&self, now: u64) -> bool {
        let times = self.signer.times();
        let since = now.saturating_sub(times.now.into());
        let old = u64::from(self.signer.first_end()) <= now + u64::from(times.refresh);
        let rested = since >= u64::from((times.validity / PASSES).max(1));
        // By a clock that was ahead: signatures of tomorrow hold for nobody.
        let ahead = u64::from(times.now) > now + SKEW;
        ahead || !self.written || self.wake.is_some_and(|wake| wake <= now) || old && rested
    }
}
