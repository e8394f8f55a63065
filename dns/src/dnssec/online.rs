//! Signatures that are made for a query: for names that are not there, and for which a wildcard stands (RFC 9824).
//!
//! There is no end of such names, so that they cannot be signed ahead. Each thread keeps the signatures that it made
//! last, and makes only so many in a second: a flood of invented names costs a known share of a core, and no more.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use ring::digest::{SHA256, digest};

use super::canonical::{signed_labels, successor};
use super::key::{Key, SIGNATURE, Signature};
use super::sign::ZoneSigner;
use crate::wire::{IN, LONGEST_NAME, TO_QUESTION, rtype};

/// What signs for queries, for one zone.
#[derive(Clone, Debug)]
pub(crate) struct Online {
    key: Arc<Key>,
    /// The data of an RRSIG record of an NSEC record, before its signature.
    denial: Box<[u8]>,
    /// How long may be kept that a name is not there, in seconds.
    ttl: u32,
    limit: Arc<Limit>,
}

/// What all threads share.
#[derive(Debug)]
pub(crate) struct Limit {
    /// Signatures that each thread may make in a second.
    per_second: u32,
    /// What happened, for metrics.
    pub(crate) counts: Arc<Counts>,
}

/// What was asked of signatures for queries, since the start.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Made.
    pub(crate) made: AtomicU64,
    /// Known from before.
    pub(crate) known: AtomicU64,
    /// Not made, for the limit.
    pub(crate) refused: AtomicU64,
}

/// Where a set of the name that was asked is signed.
#[derive(Clone, Debug)]
pub(crate) struct Hole {
    /// Where the data of its RRSIG record begins in the answer.
    pub(crate) at: u16,
    /// The records that are signed, each but for its owner.
    pub(crate) tails: Box<[Box<[u8]>]>,
}

/// There is no signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The thread has made as many as it may.
    Busy,
    /// The answer has no room for what is to be added.
    Long,
}

/// What a thread keeps.
struct Desk {
    slots: Vec<Slot>,
    /// How many signatures it may make now, in millionths.
    budget: u64,
    filled: Instant,
    message: Vec<u8>,
}

#[derive(Clone, Copy)]
struct Slot {
    digest: [u8; 16],
    signature: Signature,
}

/// Signatures that a thread keeps: 320 KiB.
const SLOTS: usize = 4096;
const MILLION: u64 = 1_000_000;
/// Where the number of labels stands in the data of an RRSIG record.
const LABELS: usize = 3;
/// The octets of a record before its data, with a pointer for a name.
const FIXED: usize = 12;

thread_local! {
    static DESK: RefCell<Desk> = RefCell::new(Desk::new());
}

impl Online {
    /// What signs for queries in the zone of a signer. `ttl` is how long denials may be kept.
    pub(crate) fn new(signer: &ZoneSigner, ttl: u32, limit: &Arc<Limit>) -> Self {
        let key = signer.zsk().clone();
        let mut denial = signer.head(&key, signer.apex(), rtype::NSEC, ttl);
        signer.write_times(&mut denial);
        Self {
            key,
            denial: denial.into(),
            ttl,
            limit: limit.clone(),
        }
    }

    /// Signs what stands in a hole of the answer `bytes` for the name that was asked.
    ///
    /// # Errors
    /// When there may be no signature now, or there is no room.
    pub(crate) fn fill(&self, hole: &Hole, name: &[u8], bytes: &mut [u8]) -> Result<(), Refused> {
        let at = usize::from(hole.at);
        let data = bytes.get_mut(at..at + self.denial.len() + SIGNATURE);
        let data = data.ok_or(Refused::Long)?;
        let (head, signature) = data.split_at_mut(self.denial.len());
        head[LABELS] = signed_labels(name);
        let made = DESK.with_borrow_mut(|desk| {
            desk.begin(head);
            for tail in &hole.tails {
                desk.add(name, tail);
            }
            desk.sign(self)
        })?;
        signature.copy_from_slice(&made);
        Ok(())
    }

    /// Writes an NSEC record of the name that was asked, with these types, and its signature; how many octets.
    ///
    /// # Errors
    /// When there may be no signature now, or there is no room.
    pub(crate) fn deny(&self, types: &[u8], name: &[u8], out: &mut [u8]) -> Result<usize, Refused> {
        let mut next = [0; LONGEST_NAME];
        let next_len = successor(name, &mut next);
        let nsec = FIXED + next_len + types.len();
        let total = nsec + FIXED + self.denial.len() + SIGNATURE;
        let out = out.get_mut(..total).ok_or(Refused::Long)?;
        self.record(rtype::NSEC, next_len + types.len(), out);
        out[FIXED..FIXED + next_len].copy_from_slice(&next[..next_len]);
        out[FIXED + next_len..nsec].copy_from_slice(types);
        let (record, rrsig) = out.split_at_mut(nsec);
        self.record(rtype::RRSIG, self.denial.len() + SIGNATURE, rrsig);
        let (head, signature) = rrsig[FIXED..].split_at_mut(self.denial.len());
        head.copy_from_slice(&self.denial);
        head[LABELS] = signed_labels(name);
        let made = DESK.with_borrow_mut(|desk| {
            desk.begin(head);
            desk.add(name, &record[2..]);
            desk.sign(self)
        })?;
        signature.copy_from_slice(&made);
        Ok(total)
    }

    /// Writes what stands before the data of a record of the name that was asked.
    fn record(&self, kind: u16, length: usize, out: &mut [u8]) {
        out[..2].copy_from_slice(&TO_QUESTION.to_be_bytes());
        out[2..4].copy_from_slice(&kind.to_be_bytes());
        out[4..6].copy_from_slice(&IN.to_be_bytes());
        out[6..10].copy_from_slice(&self.ttl.to_be_bytes());
        out[10..FIXED].copy_from_slice(&(length as u16).to_be_bytes());
    }
}

impl Limit {
    /// Signatures that each thread may make in a second.
    pub(crate) fn new(per_second: u32, counts: Arc<Counts>) -> Self {
        Self { per_second, counts }
    }
}

/// An NSEC record's data (RFC 4034, 4.1).
pub(crate) fn nsec(owner: &[u8], types: &[u8]) -> Vec<u8> {
    let mut next = [0; LONGEST_NAME];
    let length = successor(owner, &mut next);
    [&next[..length], types].concat()
}

impl Desk {
    fn new() -> Self {
        Self {
            slots: Vec::new(),
            budget: 0,
            filled: Instant::now(),
            message: Vec::new(),
        }
    }

    fn begin(&mut self, head: &[u8]) {
        self.message.clear();
        self.message.extend_from_slice(head);
    }

    fn add(&mut self, owner: &[u8], tail: &[u8]) {
        self.message.extend_from_slice(owner);
        self.message.extend_from_slice(tail);
    }

    fn sign(&mut self, online: &Online) -> Result<Signature, Refused> {
        const NOTHING: Slot = Slot {
            digest: [0; 16],
            signature: [0; SIGNATURE],
        };
        if self.slots.is_empty() {
            self.slots.resize(SLOTS, NOTHING);
            self.budget = u64::from(online.limit.per_second) * MILLION;
        }
        let counts = &online.limit.counts;
        let end = self.message.len();
        // Signatures of another key are others.
        self.message.extend_from_slice(online.key.public());
        let digested = digest(&SHA256, &self.message);
        self.message.truncate(end);
        let mut digest = [0; 16];
        digest.copy_from_slice(&digested.as_ref()[..16]);
        let place = usize::from(u16::from_be_bytes([digest[0], digest[1]])) % SLOTS;
        let slot = &self.slots[place];
        if slot.digest == digest {
            counts.known.fetch_add(1, Ordering::Relaxed);
            return Ok(slot.signature);
        }
        if !self.may(online.limit.per_second) {
            counts.refused.fetch_add(1, Ordering::Relaxed);
            return Err(Refused::Busy);
        }
        let signature = online.key.sign(&self.message).map_err(|_| Refused::Busy)?;
        counts.made.fetch_add(1, Ordering::Relaxed);
        self.slots[place] = Slot { digest, signature };
        Ok(signature)
    }

    /// Whether it may make another: a bucket that is full after a second.
    fn may(&mut self, per_second: u32) -> bool {
        let now = Instant::now();
        let per_second = u64::from(per_second);
        let passed = now.duration_since(self.filled).as_micros();
        let passed = u64::try_from(passed).unwrap_or(u64::MAX).min(MILLION);
        self.filled = now;
        self.budget = (self.budget + passed * per_second).min(per_second * MILLION);
        match self.budget.checked_sub(MILLION) {
            Some(left) => {
                self.budget = left;
                true
            }
            None => false,
        }
    }
}
