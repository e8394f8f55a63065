//! The signed zones of a configuration: which keys they have now, and the records that tell of them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use chassis::config::{Diagnostic, Sources};

use super::file::{FileError, Folder, Mark};
use super::online::Counts;
use super::roll::{Ring, Timing};
use super::settings::Settings;
use super::sign::{Signatures, ZoneSigner};
use super::signers::Signers;
use crate::config::Config;
use crate::wire::rtype;
use crate::zone::{Name, Zone};

/// How the zones of a configuration are signed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Signing {
    folder: Option<Folder>,
    zones: Arc<BTreeMap<Name, Settings>>,
    online: u32,
}

/// What outlives reloads of signing.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    pub(super) signatures: Arc<Signatures>,
    pub(crate) counts: Arc<Counts>,
    /// Whether it makes and changes key files at all; else it only reads them.
    pub(super) keeps: bool,
    /// Whether it may do so now.
    writes: AtomicBool,
    /// The keys that this process serves with: a file that is gone is written again.
    rings: Mutex<BTreeMap<Name, Ring>>,
    /// New keys that are in no file yet.
    made: Mutex<BTreeMap<Name, Ring>>,
}

/// What becomes of a zone whose keys cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unusable {
    /// It is a mistake.
    Refuse,
    /// The zone is signed with those that it was last signed with: others must not wait for it.
    ServeOn,
}

/// Zones with what signs them.
#[derive(Debug, Default)]
pub(crate) struct Signed {
    /// All zones, with the records that tell of keys.
    pub(crate) zones: Vec<Arc<Zone>>,
    /// What signs them.
    pub(crate) signers: Signers,
    pub(crate) state: SignedZones,
}

/// What is known of the signed zones of a compilation.
#[derive(Clone, Debug, Default)]
pub(crate) struct SignedZones {
    pub(crate) zones: Vec<SignedZone>,
    /// Where their keys are; none without signed zones.
    pub(crate) folder: Option<Folder>,
    /// When somebody had changed files there, before they were read.
    pub(crate) seen: Option<SystemTime>,
    /// What was signed for queries.
    pub(crate) counts: Arc<Counts>,
}

/// What is known of a signed zone.
#[derive(Clone, Debug)]
pub(crate) struct SignedZone {
    pub(crate) zone: Name,
    pub(crate) ring: Ring,
    pub(crate) timing: Timing,
    pub(crate) signer: Arc<ZoneSigner>,
    /// Whether its file is as it has to be before this is served.
    pub(crate) written: bool,
    /// When its keys are to be looked at again, in seconds since 1970.
    pub(crate) wake: Option<u64>,
    /// Of a file that cannot be used, so that others serve: what it was. None when it can.
    pub(crate) unusable: Option<Vec<Mark>>,
}

impl Keys {
    /// For a process that serves, and keeps what it decides once [`Self::write`] says that all else is sound.
    pub(crate) fn keeping() -> Self {
        Self {
            keeps: true,
            ..Self::default()
        }
    }

    /// Has key files made and changed from now on.
    pub(crate) fn write(&self) {
        self.writes.store(true, Relaxed);
    }

    /// Has key files neither made nor changed, as long as something may show that what is compiled will not serve.
    pub(crate) fn hold(&self) {
        self.writes.store(false, Relaxed);
    }

    pub(super) fn writes(&self) -> bool {
        self.writes.load(Relaxed)
    }

    /// The keys that a zone was last signed with by this process.
    pub(super) fn ring(&self, apex: &Name) -> Option<Ring> {
        lock(&self.rings).get(apex).cloned()
    }

    /// The keys that were made for a zone, and are in no file.
    pub(super) fn made(&self, apex: &Name) -> Option<Ring> {
        lock(&self.made).get(apex).cloned()
    }

    /// Remembers new keys until they are in a file, so that what was signed with them is not signed again.
    pub(super) fn make(&self, apex: &Name, ring: &Ring) {
        lock(&self.made).insert(apex.clone(), ring.clone());
    }

    /// Remembers the keys of the zones that are signed, and no others.
    fn remember(&self, zones: &[SignedZone]) {
        let written = zones.iter().filter(|zone| zone.written);
        let rings = written.map(|zone| (zone.zone.clone(), zone.ring.clone()));
        *lock(&self.rings) = rings.collect();
        let is_new = |zone: &SignedZone| !zone.written;
        let new = |apex: &Name| zones.iter().any(|zone| is_new(zone) && zone.zone == *apex);
        lock(&self.made).retain(|apex, _| new(apex));
    }

    /// Begins a compilation.
    pub(crate) fn begin(&self) {
        self.signatures.begin();
    }

    /// Forgets the signatures that no zone needs any more.
    pub(crate) fn sweep(&self) {
        self.signatures.sweep();
    }
}

impl SignedZones {
    /// Whether the files of all keys are as they have to be.
    pub(crate) fn are_written(&self) -> bool {
        self.zones.iter().all(|zone| zone.written)
    }
}

impl Signing {
    /// Judges what is written. With mistakes nothing is signed: key files are not changed for what will not serve.
    pub(crate) fn compile(
        config: &Config,
        sources: &Sources,
        mistakes: &mut Vec<Diagnostic>,
    ) -> Self {
        let mut zones = BTreeMap::new();
        for zone in &config.zone {
            let Some(dnssec) = &zone.dnssec else {
                continue;
            };
            if config.dnssec.is_none() {
                let what = "there is no folder for the keys of signed zones";
                let help = "add `[dnssec]` with `keys = \"/var/lib/tidegate/keys\"`";
                mistakes.push(dnssec.wrong(what).help(help));
            }
            if !zone.primary.is_empty() {
                let what = "a zone that comes from a primary is served as it comes";
                mistakes.push(dnssec.wrong(what).help("sign it at its primary"));
            }
            dnssec.judge(mistakes);
            if let Some(apex) = Name::from_text(&zone.name) {
                zones.insert(apex, Settings::new(dnssec, dnssec.place()));
            }
        }
        let shared = config.dnssec.as_ref();
        if let Some(none) = shared.filter(|shared| *shared.online_signatures == 0) {
            mistakes.push(none.online_signatures.wrong("must be 1 at least"));
        }
        let folder = shared.map(|shared| {
            let folder = Folder::new(sources.resolve(&shared.keys, shared.keys.place()));
            if !zones.is_empty()
                && let Err(error) = folder.look()
            {
                mistakes.push(shared.keys.wrong(error.to_string()));
            }
            folder
        });
        if !mistakes.is_empty() {
            return Self::default();
        }
        Self {
            folder,
            zones: Arc::new(zones),
            online: shared.map_or(0, |shared| *shared.online_signatures),
        }
    }

    /// The folder with the keys, and the zones that are signed.
    pub(crate) fn parts(&self) -> Option<(&Folder, &BTreeMap<Name, Settings>)> {
        let folder = self.folder.as_ref()?;
        (!self.zones.is_empty()).then_some((folder, &*self.zones))
    }

    /// Notes of zones that have keys and are not signed any more that caches have them without signatures from now on: when
    /// one is signed again, its parent is told only when no cache has.
    pub(crate) fn begin_anew(&self, zones: &[Arc<Zone>]) {
        let Some(folder) = &self.folder else {
            return;
        };
        let unsigned_now = zones
            .iter()
            .filter(|zone| !self.zones.contains_key(&zone.apex));
        for zone in unsigned_now {
            if let Err(error) = unsigned(folder, &zone.apex) {
                tracing::warn!(zone = %zone.apex, %error, "it is not signed any more, and its keys do not know");
            }
        }
    }

    /// Reads the keys, lets them follow each other, and adds the records that tell of them.
    ///
    /// # Errors
    /// Keys that cannot be used, and records that only the server makes.
    pub(crate) fn apply(
        &self,
        zones: &[Arc<Zone>],
        keys: &Keys,
        unusable: Unusable,
        now: u64,
    ) -> Result<Signed, Vec<Diagnostic>> {
        let mut signed = Signed {
            zones: zones.to_vec(),
            ..Signed::default()
        };
        signed.state.folder = self.folder.clone();
        signed.state.seen = self.folder.as_ref().and_then(Folder::changed);
        signed.state.counts = keys.counts.clone();
        let mut signers = Vec::with_capacity(zones.len());
        let mut mistakes = Vec::new();
        for zone in &mut signed.zones {
            let settings = self.zones.get(&zone.apex);
            let (Some(settings), Some(folder)) = (settings, &self.folder) else {
                signers.push(None);
                continue;
            };
            made_here(zone, &mut mistakes);
            let zone = Arc::make_mut(zone);
            // Before the file is read: what changes afterwards is noticed.
            let marks = folder.marks(std::iter::once(&zone.apex));
            let applied = settings.apply(zone, folder, keys, now).or_else(|why| {
                if unusable == Unusable::Refuse {
                    return Err(why);
                }
                tracing::error!(zone = %zone.apex, why, "its keys cannot be used: the ones before serve on");
                let served = settings.serve_on(zone, keys, now)?;
                Ok(SignedZone {
                    unusable: Some(marks),
                    ..served
                })
            });
            match applied {
                Ok(report) => {
                    signers.push(Some(report.signer.clone()));
                    signed.state.zones.push(report);
                }
                Err(why) => {
                    let what = format!("`{}` cannot be signed: {why}", zone.apex);
                    mistakes.push(Diagnostic::new(settings.place, what));
                    signers.push(None);
                }
            }
        }
        signed.signers = Signers::counted(signers, self.online, keys.counts.clone());
        match mistakes.is_empty() {
            true => {
                keys.remember(&signed.state.zones);
                Ok(signed)
            }
            false => Err(mistakes),
        }
    }
}

fn unsigned(folder: &Folder, apex: &Name) -> Result<(), FileError> {
    // Most have never had any.
    if !folder.path(apex).exists() {
        return Ok(());
    }
    let lock = folder.lock()?;
    match folder.read_to_change(apex, &lock)? {
        Some(mut ring) if ring.signed_since != 0 => {
            ring.signed_since = 0;
            folder.write(apex, &ring, &lock)
        }
        _ => Ok(()),
    }
}

fn lock(rings: &Mutex<BTreeMap<Name, Ring>>) -> MutexGuard<'_, BTreeMap<Name, Ring>> {
    rings.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Seconds since 1970.
pub(crate) fn unix_now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// Records that only the server makes.
fn made_here(zone: &Zone, mistakes: &mut Vec<Diagnostic>) {
    const MADE: [u16; 7] = [
        rtype::RRSIG,
        rtype::NSEC,
        rtype::DNSKEY,
        rtype::NSEC3,
        rtype::NSEC3PARAM,
        rtype::CDS,
        rtype::CDNSKEY,
    ];
    for (name, set) in zone.sets().filter(|(_, set)| MADE.contains(&set.rtype)) {
        let kind = rtype::name(set.rtype);
        let what = format!("the {kind} records of `{name}` are the server's to make");
        let help = "this zone is signed here: remove them, or `dnssec` of the zone";
        mistakes.push(Diagnostic::new(set.place, what).help(help));
    }
}
