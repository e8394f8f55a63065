//! Builds what stands after the question.

use rustc_hash::FxHashMap;

use super::bytes::Answer;
use super::edns::Opt;
use super::signed::OfAsked;
use crate::dnssec::ZoneSigner;
use crate::wire::{HEADER, IN, LONGEST_NAME, TO_QUESTION, rtype};
use crate::zone::suffixes;

/// How the name that is asked relates to the name that an answer is built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// They are the same.
    Same,
    /// The answer is built for a wildcard, which stands for the name that is asked.
    Wildcard,
    /// The answer is built for a name at or above the one that is asked.
    Below,
}

/// The sections of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Section {
    Answer,
    Authority,
    Additional,
}

/// Builds the records of one answer, with compressed names (RFC 1035, 4.1.4).
pub(super) struct Message<'a> {
    pub(super) asked: Asked,
    pub(super) base: &'a [u8],
    /// What signs its sets; none without signatures.
    pub(super) signer: Option<&'a ZoneSigner>,
    /// What is signed for each query.
    pub(super) of_asked: OfAsked,
    bytes: Vec<u8>,
    /// Where names stand in the message.
    known: FxHashMap<Box<[u8]>, u16>,
    /// Where pointers stand in `bytes` that move with the length of the question.
    moving: Vec<u16>,
    counts: [u16; 3],
    /// What must be sent: everything before, and so many additional records.
    required: Option<(usize, u16)>,
}

/// Pointers reach so far, with room for a longer name in the question.
const FARTHEST: usize = 0x3FFF - 256;

/// The longest answer that fits into any message: beside it stand a question, an OPT record, and a signature.
const LONGEST: usize = 0xFFFF - HEADER - (LONGEST_NAME + 4) - Opt::LONGEST - LONGEST_TSIG;
/// The longest TSIG record of an answer: the names of the key and of the algorithm, what stands around them, and
/// 64 octets of signature.
const LONGEST_TSIG: usize = LONGEST_NAME + 10 + 13 + 16 + 64;

impl<'a> Message<'a> {
    /// An answer that is built for the name `base`.
    pub(super) fn new(base: &'a [u8], asked: Asked, signer: Option<&'a ZoneSigner>) -> Self {
        let mut known = FxHashMap::default();
        for suffix in suffixes(base).filter(|suffix| suffix.len() > 1) {
            let at = HEADER + base.len() - suffix.len();
            // Where a wildcard stands in the question, there is another name.
            if asked != Asked::Wildcard || suffix.len() < base.len() {
                known.insert(suffix.into(), at as u16);
            }
        }
        Self {
            asked,
            base,
            signer,
            of_asked: OfAsked::default(),
            bytes: Vec::new(),
            known,
            moving: Vec::new(),
            counts: [0; 3],
            required: None,
        }
    }

    /// Adds a record.
    pub(super) fn record(&mut self, to: Section, owner: &[u8], rtype: u16, ttl: u32, data: &[u8]) {
        self.counts[to as usize] = self.counts[to as usize].saturating_add(1);
        if self.asked == Asked::Wildcard && owner == self.base {
            self.bytes.extend_from_slice(&TO_QUESTION.to_be_bytes());
        } else {
            self.name(owner, true);
        }
        self.bytes.extend_from_slice(&rtype.to_be_bytes());
        self.bytes.extend_from_slice(&IN.to_be_bytes());
        self.bytes.extend_from_slice(&ttl.to_be_bytes());
        let length_at = self.bytes.len();
        self.bytes.extend_from_slice(&[0, 0]);
        let names = rtype::names(rtype);
        let mut rest = data;
        if names.compressible {
            let (before, after) = rest.split_at(names.offset.min(rest.len()));
            self.bytes.extend_from_slice(before);
            rest = after;
            for _ in 0..names.count {
                let end = crate::zone::name_end(rest).unwrap_or(0);
                self.name(&rest[..end], true);
                rest = &rest[end..];
            }
        }
        self.bytes.extend_from_slice(rest);
        let length = (self.bytes.len() - length_at - 2) as u16;
        self.bytes[length_at..length_at + 2].copy_from_slice(&length.to_be_bytes());
    }

    /// Octets of its records so far.
    pub(super) fn length(&self) -> usize {
        self.bytes.len()
    }

    fn name(&mut self, name: &[u8], compress: bool) {
        let lower = name.to_ascii_lowercase();
        for suffix in suffixes(&lower) {
            let at = HEADER + self.base.len() + 4 + self.bytes.len();
            if let Some(known) = self.known.get(suffix).filter(|_| compress) {
                let pointer = 0xC000 | known;
                if self.asked != Asked::Same {
                    self.moving.push(self.bytes.len() as u16);
                }
                self.bytes.extend_from_slice(&pointer.to_be_bytes());
                return;
            }
            let start = name.len() - suffix.len();
            let length = usize::from(name[start]);
            if length > 0 && at <= FARTHEST {
                self.known.insert(suffix.into(), at as u16);
            }
            self.bytes.extend_from_slice(&name[start..=start + length]);
        }
    }

    /// What follows may be left out when there is no room.
    pub(super) fn optional_from_here(&mut self) {
        self.required = Some((self.bytes.len(), self.counts[2]));
    }

    /// The answer; none when it is longer than a message.
    pub(super) fn finish(self, code: u16, authoritative: bool) -> Option<Answer> {
        if self.bytes.len() > LONGEST {
            return None;
        }
        let (required, required_additional) =
            self.required.unwrap_or((self.bytes.len(), self.counts[2]));
        Some(Answer {
            octets: self.bytes.into(),
            moving: self.moving.into(),
            base: self.base.len() as u8,
            code: code as u8,
            authoritative,
            counts: self.counts,
            required: required as u16,
            required_additional,
        })
    }
}
