//! How one zone is signed: its keys now, and the records that tell of them.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chassis::config::Place;

use super::config::ZoneDnssecConfig;
use super::file::Folder;
use super::key::{Algorithm, Key, KeyError, Role};
use super::roll::{Entry, Made, Ring, Secret, Stage, Timing, next};
use super::sign::{Times, ZoneSigner};
use super::zones::{Keys, SignedZone};
use crate::wire::rtype;
use crate::zone::{Name, Record, RecordSet, Zone};

/// How a zone is signed. Times are in seconds.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) algorithm: Algorithm,
    validity: u32,
    refresh: u32,
    key_ttl: u32,
    /// But for its longest TTL.
    timing: Timing,
    withdraw: bool,
    pub(super) place: Place,
}

/// The keys of a zone at some time.
#[derive(Debug, PartialEq, Eq)]
struct Advanced {
    ring: Ring,
    /// When they are to be looked at again, in seconds since 1970.
    wake: Option<u64>,
    /// Whether the file has what is to serve; else it may not be changed yet.
    written: bool,
}

impl Settings {
    pub(super) fn new(config: &ZoneDnssecConfig, place: Place) -> Self {
        let seconds = |period: &chassis::units::Period| period.as_secs() as u32;
        let lifetime = |period: &chassis::units::Period| Some(period.as_secs()).filter(|s| *s > 0);
        Self {
            algorithm: *config.algorithm,
            validity: seconds(&config.validity),
            refresh: seconds(&config.refresh),
            key_ttl: seconds(&config.key_ttl),
            timing: Timing {
                zsk_lifetime: lifetime(&config.zsk_lifetime),
                ksk_lifetime: lifetime(&config.ksk_lifetime),
                propagation: config.propagation.as_secs(),
                ds_ttl: config.ds_ttl.as_secs(),
                longest_ttl: seconds(&config.key_ttl),
            },
            withdraw: config.withdraw,
            place,
        }
    }

    /// The times of a zone with these records.
    pub(crate) fn timing(&self, zone: &Zone) -> Timing {
        let longest = zone.sets().map(|(_, set)| set.ttl).max();
        let mut timing = self.timing;
        timing.longest_ttl = timing.longest_ttl.max(longest.unwrap_or(0));
        timing
    }

    /// Lets the keys of a zone follow each other, and adds the records that tell of them.
    pub(super) fn apply(
        &self,
        zone: &mut Zone,
        folder: &Folder,
        keys: &Keys,
        now: u64,
    ) -> Result<SignedZone, String> {
        let timing = self.timing(zone);
        let advanced = self.advance(&zone.apex, &timing, folder, keys, now)?;
        self.sign(zone, advanced, timing, keys, now)
    }

    /// Goes on with the keys that a zone was last signed with, and tries again later.
    pub(super) fn serve_on(
        &self,
        zone: &mut Zone,
        keys: &Keys,
        now: u64,
    ) -> Result<SignedZone, String> {
        let advanced = Advanced {
            ring: keys.ring(&zone.apex).ok_or("it was never signed")?,
            wake: Some(now + AGAIN),
            written: true,
        };
        let timing = self.timing(zone);
        self.sign(zone, advanced, timing, keys, now)
    }

    /// Adds the records that tell of keys.
    fn sign(
        &self,
        zone: &mut Zone,
        advanced: Advanced,
        timing: Timing,
        keys: &Keys,
        now: u64,
    ) -> Result<SignedZone, String> {
        let Advanced {
            ring,
            wake,
            written,
        } = advanced;
        let parsed = |entry: &Entry| parse(entry, ring.algorithm).map_err(|why| why.to_string());
        let mut ksks = Vec::new();
        let mut zsk = None;
        let mut published = Vec::new();
        for entry in ring.published() {
            let key = Arc::new(parsed(entry)?);
            published.push(key.dnskey());
            match entry.role {
                Role::Ksk => ksks.push(key),
                Role::Zsk if entry.stage == Stage::Active => zsk = Some(key),
                Role::Zsk => {}
            }
        }
        let Some(zsk) = zsk.filter(|_| !ksks.is_empty()) else {
            return Err("its file has no active key of each role".into());
        };
        let mut told = Vec::new();
        for entry in ring.announced(now, &timing) {
            let key = parsed(entry)?;
            told.push((key.ds(&zone.apex), key.dnskey()));
        }
        if self.withdraw {
            // RFC 8078, 4.
            told = vec![(vec![0; 5], vec![0, 0, 3, 0, 0])];
        }
        let (cds, cdnskey) = told.into_iter().unzip();
        self.add(zone, rtype::DNSKEY, published);
        self.add(zone, rtype::CDS, cds);
        self.add(zone, rtype::CDNSKEY, cdnskey);
        let times = Times {
            now: now as u32,
            validity: self.validity,
            refresh: self.refresh,
        };
        let apex = zone.apex.clone();
        let signer = ZoneSigner::new(apex.clone(), ksks, zsk, times, keys.signatures.clone());
        Ok(SignedZone {
            zone: apex,
            ring,
            timing,
            signer: Arc::new(signer),
            written,
            wake,
            unusable: None,
        })
    }

    /// The keys as they are at `now`, also in their file when this process keeps it.
    fn advance(
        &self,
        apex: &Name,
        timing: &Timing,
        folder: &Folder,
        keys: &Keys,
        now: u64,
    ) -> Result<Advanced, String> {
        // Also before it writes: where it could not, the start fails.
        let lock = match keys.keeps.then(|| folder.lock()) {
            // Keys that are there can serve where nothing can be written.
            Some(Err(error)) if !error.is_read_only() => return Err(error.to_string()),
            lock => lock,
        };
        let in_file = folder.read(apex).map_err(|error| error.to_string())?;
        let read = in_file.clone().or_else(|| keys.ring(apex));
        if in_file.is_none() && read.is_some() && keys.writes() {
            tracing::error!(zone = %apex, "its file of keys was gone: the keys that serve are written again");
        }
        self.judge(read.as_ref())?;
        let made = || {
            keys.made(apex)
                .filter(|ring| ring.algorithm == self.algorithm)
        };
        let before = read.clone().or_else(made);
        let before = before.unwrap_or_else(|| Ring::new(self.algorithm, now));
        let mut tags: Vec<u16> = before.keys.iter().map(|key| key.tag).collect();
        let mut make = |role| {
            let made = make(role, self.algorithm, &tags)?;
            tags.push(made.0);
            Ok::<_, KeyError>(made)
        };
        let (ring, wake) = next(&before, now, timing, &mut make).map_err(|why| why.to_string())?;
        let advanced = |ring, wake, written| Advanced {
            ring,
            wake,
            written,
        };
        let Some(lock) = lock.filter(|_| in_file.as_ref() != Some(&ring)) else {
            return Ok(advanced(ring, wake, true));
        };
        if !keys.writes() {
            return Ok(match read {
                Some(read) => advanced(read, Some(now), false),
                None => {
                    lock.map_err(|error| error.to_string())?;
                    keys.make(apex, &ring);
                    advanced(ring, wake, false)
                }
            });
        }
        let written = lock.and_then(|lock| folder.write(apex, &ring, &lock));
        match (written, read) {
            (Ok(()), _) => {
                tell(apex, &before, &ring);
                Ok(advanced(ring, wake, true))
            }
            // The keys that are in the file serve on.
            (Err(error), Some(read)) => {
                tracing::error!(zone = %apex, %error, "keys are not replaced");
                Ok(advanced(read, Some(now + AGAIN), true))
            }
            (Err(error), None) => Err(error.to_string()),
        }
    }

    /// Whether these keys can go on.
    fn judge(&self, read: Option<&Ring>) -> Result<(), String> {
        match read.filter(|ring| ring.algorithm != self.algorithm) {
            Some(other) => Err(format!(
                "its keys are of the algorithm \"{}\", and that cannot be changed while it is signed",
                other.algorithm.name()
            )),
            None => Ok(()),
        }
    }

    fn add(&self, zone: &mut Zone, kind: u16, data: Vec<Vec<u8>>) {
        if data.is_empty() {
            return;
        }
        let place = self.place;
        let records = data.into_iter().map(|data| Record {
            data: data.into(),
            place,
        });
        let set = RecordSet {
            rtype: kind,
            ttl: self.key_ttl,
            place,
            records: records.collect(),
            policy: None,
        };
        let sets = zone.names.entry(zone.apex.clone()).or_default();
        sets.put(set);
    }
}

/// After a file could not be read or written, in seconds.
const AGAIN: u64 = 60;

/// The key of an entry.
pub(crate) fn parse(entry: &Entry, algorithm: Algorithm) -> Result<Key, ParseError> {
    let pkcs8 = STANDARD
        .decode(&entry.private.0)
        .map_err(|_| ParseError::NotBase64(entry.tag))?;
    let key = Key::new(entry.role, algorithm, &pkcs8)?;
    match key.tag() == entry.tag {
        true => Ok(key),
        false => Err(ParseError::Another(entry.tag)),
    }
}

/// An entry of a key file holds no key.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ParseError {
    #[error("the key {0} of its file is not base64")]
    NotBase64(u16),
    #[error("the key {0} of its file has another tag")]
    Another(u16),
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// Another key, whose tag is none of these: validators try every key of a tag.
fn make(role: Role, algorithm: Algorithm, tags: &[u16]) -> Result<Made, KeyError> {
    loop {
        let pkcs8 = algorithm.generate()?;
        let key = Key::new(role, algorithm, &pkcs8)?;
        if !tags.contains(&key.tag()) {
            return Ok((key.tag(), Secret(STANDARD.encode(pkcs8))));
        }
    }
}

/// Says what became of keys.
fn tell(apex: &Name, before: &Ring, after: &Ring) {
    for key in &after.keys {
        let same = |other: &&Entry| other.private == key.private;
        let was = before.keys.iter().find(same).map(|other| other.stage);
        if was != Some(key.stage) {
            let (role, stage) = (key.role.name(), key.stage.name());
            tracing::info!(zone = %apex, role, tag = key.tag, stage, "a key");
        }
    }
    for key in &before.keys {
        if !after.keys.iter().any(|other| other.private == key.private) {
            tracing::info!(zone = %apex, role = key.role.name(), tag = key.tag, "a key is gone");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn advanced(folder: &Folder, now: u64) -> Result<(Ring, Option<u64>), String> {
        let keys = Keys::keeping();
        keys.write();
        advanced_with(&keys, folder, now).map(|advanced| (advanced.ring, advanced.wake))
    }

    fn advanced_with(keys: &Keys, folder: &Folder, now: u64) -> Result<Advanced, String> {
        let settings = Settings::new(&ZoneDnssecConfig::default(), Place::default());
        let apex = Name::from_text("example.test").expect("a name");
        settings.advance(&apex, &settings.timing, folder, keys, now)
    }

    /// Root may write anywhere; this thread may no longer.
    fn as_nobody_special() {
        let mut mine = capabilities(None).expect("the kernel says");
        mine.effective -= CapabilitySet::DAC_OVERRIDE;
        set_capabilities(None, mine).expect("less is allowed");
    }

    #[test]
    fn keys_of_a_folder_that_cannot_be_written_serve_on() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("keys");
        let folder = Folder::new(path.clone());
        let (made, _) = advanced(&folder, NOW).unwrap();
        fs::remove_file(path.join(".lock")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o500)).unwrap();
        let empty = scratch.path().join("empty");
        fs::create_dir(&empty).unwrap();
        fs::set_permissions(&empty, fs::Permissions::from_mode(0o500)).unwrap();
        std::thread::spawn(move || {
            as_nobody_special();
            assert_eq!(advanced(&folder, NOW + 1).unwrap().0, made);
            // By then it would be replaced.
            let later = NOW + 10 * 365 * 86_400;
            assert_eq!(
                advanced(&folder, later).unwrap(),
                (made, Some(later + AGAIN))
            );
            let none = advanced(&Folder::new(empty), NOW).unwrap_err();
            assert!(none.contains("ermission denied"), "{none}");
        })
        .join()
        .unwrap();
    }

    #[test]
    fn keys_are_in_no_file_before_all_else_is_sound_and_are_the_same_then() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = Folder::new(scratch.path().join("keys"));
        let apex = Name::from_text("example.test").unwrap();
        let keys = Keys::keeping();
        let made = advanced_with(&keys, &folder, NOW).unwrap();
        assert!(!made.written);
        assert_eq!(folder.read(&apex).unwrap(), None);
        keys.write();
        let kept = advanced_with(&keys, &folder, NOW + 1).unwrap();
        assert!(kept.written);
        assert_eq!(kept.ring, made.ring);
        assert_eq!(folder.read(&apex).unwrap(), Some(kept.ring.clone()));
        // A step that is due waits too.
        keys.hold();
        let later = NOW + 365 * 86_400;
        let held = advanced_with(&keys, &folder, later).unwrap();
        assert_eq!((held.ring, held.written), (kept.ring.clone(), false));
        keys.write();
        let (stepped, written) = {
            let stepped = advanced_with(&keys, &folder, later).unwrap();
            (stepped.ring, stepped.written)
        };
        assert!(written && stepped.keys.len() > kept.ring.keys.len());
    }
}
