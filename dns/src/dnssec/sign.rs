//! Signs sets of records (RFC 4034, section 3), and keeps the signatures over reloads.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use ring::digest::{SHA256, digest};
use rustc_hash::FxHashMap;

use super::canonical::{signed_labels, tails};
use super::key::{Key, SIGNATURE, Signature};
use crate::wire::rtype;
use crate::zone::Name;

/// Signs the sets of one zone, for one compilation.
#[derive(Debug)]
pub struct ZoneSigner {
    apex: Name,
    /// They sign the DNSKEY, CDS and CDNSKEY sets.
    ksks: Vec<Arc<Key>>,
    /// It signs everything else.
    zsk: Arc<Key>,
    times: Times,
    made: Arc<Signatures>,
    /// When the first of its signatures ends.
    first_end: AtomicU32,
    failure: OnceLock<String>,
}

/// How long signatures hold, in seconds; `now` since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// The time.
    pub now: u32,
    /// How long a new signature holds, at most.
    pub validity: u32,
    /// It is made anew when it holds no longer than that.
    pub refresh: u32,
}

/// The signatures that were made, by what is signed and with which key.
#[derive(Debug, Default)]
pub struct Signatures {
    made: Mutex<FxHashMap<Digest, Made>>,
}

/// A set that is to be signed.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) owner: Name,
    pub(crate) rtype: u16,
    pub(crate) ttl: u32,
    pub(crate) records: Vec<Vec<u8>>,
}

/// Half of SHA-256, which is enough to tell sets apart.
type Digest = [u8; 16];

#[derive(Clone, Copy, Debug)]
struct Made {
    signature: Signature,
    begin: u32,
    end: u32,
    used: bool,
}

/// Clocks of validators may be so late.
const SKEW: u32 = 3600;
/// New signatures end at different times: the earliest a tenth of their validity before the last.
const SPREAD: u32 = 10;
/// Where the times stand in the data of a signature, and what follows them.
const TIMES: std::ops::Range<usize> = 8..16;

impl Times {
    /// When a signature with these times begins.
    pub(crate) fn begin(&self) -> u32 {
        self.now.saturating_sub(SKEW)
    }

    /// When a signature that is made for a query ends.
    pub(crate) fn end(&self) -> u32 {
        self.now + self.validity
    }
}

impl ZoneSigner {
    /// A signer for a zone with keys of these roles: one ZSK that signs, and the KSKs.
    pub fn new(
        apex: Name,
        ksks: Vec<Arc<Key>>,
        zsk: Arc<Key>,
        times: Times,
        made: Arc<Signatures>,
    ) -> Self {
        Self {
            apex,
            ksks,
            zsk,
            first_end: AtomicU32::new(times.end()),
            times,
            made,
            failure: OnceLock::new(),
        }
    }

    /// The key that signs all but keys.
    pub(crate) fn zsk(&self) -> &Arc<Key> {
        &self.zsk
    }

    /// The zone's name.
    pub(crate) fn apex(&self) -> &Name {
        &self.apex
    }

    /// How long signatures hold.
    pub(crate) fn times(&self) -> &Times {
        &self.times
    }

    /// When the first of its signatures ends, in seconds since 1970.
    pub(crate) fn first_end(&self) -> u32 {
        self.first_end.load(Ordering::Relaxed)
    }

    /// Why signing failed, if it did: then nothing of the compilation may be served.
    pub(crate) fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }

    /// The data of the RRSIG records of a set.
    pub(crate) fn sign<'a>(
        &self,
        owner: &[u8],
        rtype: u16,
        ttl: u32,
        records: impl Iterator<Item = &'a [u8]>,
    ) -> Vec<Vec<u8>> {
        let tails = tails(rtype, ttl, records);
        let keys = self.keys_for(rtype).iter();
        let signed = keys.filter_map(|key| {
            let mut data = self.head(key, owner, rtype, ttl);
            let made = self.known_or_made(key, &mut data, owner, &tails)?;
            self.first_end.fetch_min(made.end, Ordering::Relaxed);
            data[TIMES].copy_from_slice(&made.times());
            data.extend_from_slice(&made.signature);
            Some(data)
        });
        signed.collect()
    }

    /// Makes the signatures that are not there yet, on all cores. The sets of one name after the other are put together for it:
    /// all at once they would take as much room as the zone.
    pub(crate) fn prepare<T: Sync>(&self, of: &[T], jobs: impl Fn(&T) -> Vec<Job> + Sync) {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let share = of.len().div_ceil(cores).max(64);
        let jobs = &jobs;
        std::thread::scope(|scope| {
            for of in of.chunks(share) {
                scope.spawn(move || {
                    for job in of.iter().flat_map(jobs) {
                        let records = job.records.iter().map(Vec::as_slice);
                        self.sign(&job.owner, job.rtype, job.ttl, records);
                    }
                });
            }
        });
    }

    /// What stands before the signature, with no times yet (RFC 4034, 3.1).
    pub(crate) fn head(&self, key: &Key, owner: &[u8], rtype: u16, ttl: u32) -> Vec<u8> {
        let mut data = Vec::with_capacity(18 + self.apex.len() + SIGNATURE);
        data.extend_from_slice(&rtype.to_be_bytes());
        data.extend_from_slice(&[key.algorithm().number(), signed_labels(owner)]);
        data.extend_from_slice(&ttl.to_be_bytes());
        data.extend_from_slice(&[0; 8]);
        data.extend_from_slice(&key.tag().to_be_bytes());
        data.extend_from_slice(&self.apex);
        data
    }

    /// Writes the times of a signature that is made for a query.
    pub(crate) fn write_times(&self, head: &mut [u8]) {
        let times = Made {
            signature: [0; SIGNATURE],
            begin: self.times.begin(),
            end: self.times.end(),
            used: true,
        };
        head[TIMES].copy_from_slice(&times.times());
    }

    fn keys_for(&self, kind: u16) -> &[Arc<Key>] {
        match kind {
            rtype::DNSKEY | rtype::CDS | rtype::CDNSKEY => &self.ksks,
            _ => std::slice::from_ref(&self.zsk),
        }
    }

    fn known_or_made(
        &self,
        key: &Key,
        head: &mut [u8],
        owner: &[u8],
        tails: &[Box<[u8]>],
    ) -> Option<Made> {
        // Without times it is the same for the same set and key.
        let digest = digest_of(&[key.public(), &message(head, owner, tails)]);
        let times = &self.times;
        let fresh = |made: &Made| {
            made.end > times.now.saturating_add(times.refresh) && made.begin <= times.now
        };
        if let Some(made) = self.made.reuse(&digest, fresh) {
            return Some(made);
        }
        let spread = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]);
        let spread = spread % (times.validity.saturating_sub(times.refresh) / SPREAD).max(1);
        let mut made = Made {
            signature: [0; SIGNATURE],
            begin: times.begin(),
            end: times.end() - spread,
            used: true,
        };
        head[TIMES].copy_from_slice(&made.times());
        match key.sign(&message(head, owner, tails)) {
            Ok(signature) => made.signature = signature,
            Err(error) => {
                self.failure.get_or_init(|| error.to_string());
                return None;
            }
        }
        self.made.keep(digest, made);
        Some(made)
    }
}

impl Signatures {
    /// Forgets which signatures are in use; [`Self::sweep`] forgets those that were not used since.
    pub(crate) fn begin(&self) {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.values_mut().for_each(|made| made.used = false);
    }

    /// Forgets those that were not used since [`Self::begin`].
    pub(crate) fn sweep(&self) {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.retain(|_, made| made.used);
        made.shrink_to_fit();
    }

    fn reuse(&self, digest: &Digest, fresh: impl Fn(&Made) -> bool) -> Option<Made> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let known = made.get_mut(digest).filter(|made| fresh(made))?;
        known.used = true;
        Some(*known)
    }

    fn keep(&self, digest: Digest, signature: Made) {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.insert(digest, signature);
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.made.lock().map_or(0, |made| made.len())
    }
}

impl Made {
    /// As they stand in the data: the end is first.
    fn times(&self) -> [u8; 8] {
        let mut times = [0; 8];
        times[..4].copy_from_slice(&self.end.to_be_bytes());
        times[4..].copy_from_slice(&self.begin.to_be_bytes());
        times
    }
}

/// What is signed (RFC 4034, 3.1.8.1).
fn message(head: &[u8], owner: &[u8], tails: &[Box<[u8]>]) -> Vec<u8> {
    let mut message = head.to_vec();
    for tail in tails {
        message.extend_from_slice(owner);
        message.extend_from_slice(tail);
    }
    message
}

fn digest_of(parts: &[&[u8]]) -> Digest {
    let digest = digest(&SHA256, &parts.concat());
    let mut half = [0; 16];
    half.copy_from_slice(&digest.as_ref()[..16]);
    half
}

#[cfg(test)]
mod tests {
    use super::super::key::{Algorithm, Role};
    use super::*;

    fn key(role: Role) -> Arc<Key> {
        let pkcs8 = Algorithm::EcdsaP256.generate().unwrap();
        Arc::new(Key::new(role, Algorithm::EcdsaP256, &pkcs8).unwrap())
    }

    fn signer(now: u32, zsk: &Arc<Key>, made: &Arc<Signatures>) -> ZoneSigner {
        let times = Times {
            now,
            validity: 1000,
            refresh: 300,
        };
        let apex = Name::from_text("example").unwrap();
        ZoneSigner::new(apex, vec![key(Role::Ksk)], zsk.clone(), times, made.clone())
    }

    #[test]
    fn an_unchanged_set_is_signed_once_until_its_signature_is_old() {
        let (zsk, made) = (key(Role::Zsk), Arc::<Signatures>::default());
        let sign = |now, address: &[u8]| {
            let owner = Name::from_text("www.example").unwrap();
            let signer = signer(now, &zsk, &made);
            signer.sign(&owner, rtype::A, 60, [address].into_iter())
        };
        let first = sign(100_000, &[1, 2, 3, 4]);
        assert_eq!(first.len(), 1);
        // Over the time, until 300 seconds before it ends, which is a tenth of the rest earlier at most.
        assert_eq!(sign(100_600, &[1, 2, 3, 4]), first);
        assert_ne!(sign(100_701, &[1, 2, 3, 4]), first);
        // ECDSA takes random numbers: equal signatures were not made twice.
        assert_ne!(sign(100_000, &[1, 2, 3, 5]), first);
        assert_eq!(made.len(), 2);
        made.begin();
        sign(100_000, &[1, 2, 3, 5]);
        made.sweep();
        assert_eq!(made.len(), 1);
    }

    #[test]
    fn signatures_do_not_all_end_at_once() {
        let (zsk, made) = (key(Role::Zsk), Arc::<Signatures>::default());
        let signer = signer(100_000, &zsk, &made);
        let ends = (0..50_u8).map(|last| {
            let owner = Name::from_text("www.example").unwrap();
            let data = signer.sign(&owner, rtype::A, 60, [&[1, 2, 3, last][..]].into_iter());
            u32::from_be_bytes([data[0][8], data[0][9], data[0][10], data[0][11]])
        });
        let ends: Vec<u32> = ends.collect();
        let (first, last) = (ends.iter().min().unwrap(), ends.iter().max().unwrap());
        assert!(*last <= 101_000 && *first > 101_000 - 70, "{ends:?}");
        assert!(last - first > 30, "{ends:?}");
        assert_eq!(signer.first_end(), *first);
    }
}
