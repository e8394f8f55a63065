//! Answers with signatures: what is added to a message of a signed zone, for clients that want it.
//!
//! Each answer of a signed zone is compiled a second time with its RRSIG and NSEC records. Where the name that is asked
//! has no end of names (a wildcard stands for it, or it is not there), the answer has holes instead, which
//! [`crate::dnssec::online`] fills for each query.

use super::choose::Choose;
use super::message::{Asked, Message, Section};
use super::sets::Within;
use super::snapshot::NONE;
use crate::dnssec::ZoneSigner;
use crate::dnssec::canonical::{bitmap, tails};
use crate::dnssec::online::{Hole, Online, Refused, nsec};
use crate::dnssec::{Job, SIGNATURE};
use crate::wire::rtype::{CNAME, DS, NS, NSEC, NXNAME, RRSIG};
use crate::zone::{Name, RecordSet};

/// What is signed for the name that is asked.
#[derive(Clone, Debug, Default)]
pub(super) struct OfAsked {
    /// Signatures in the answer.
    pub(super) holes: Vec<Hole>,
    /// The types that an NSEC record at its end lists; none without such a record.
    pub(super) denial: Option<Box<[u8]>>,
}

/// What is answered to clients that want signatures, in place of an answer without.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pair {
    /// The number of the answer among those with signatures.
    pub(super) answer: u32,
    /// The number of what is signed for the name that is asked.
    pub(super) of_asked: u32,
}

impl OfAsked {
    /// Signs for the name that is asked, in the records of an answer, of which there are so many octets; how many octets
    /// are added behind them: those of two records, or none.
    ///
    /// # Errors
    /// When there may be no signature now, or there is no room.
    pub(super) fn write(
        &self,
        online: &Online,
        name: &[u8],
        length: usize,
        records: &mut [u8],
    ) -> Result<usize, Refused> {
        // What there was no room for has none.
        let there = |hole: &&Hole| usize::from(hole.at) < length;
        for hole in self.holes.iter().filter(there) {
            online.fill(hole, name, records)?;
        }
        match &self.denial {
            Some(types) => online.deny(types, name, &mut records[length..]),
            None => Ok(0),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.holes.is_empty() && self.denial.is_none()
    }
}

impl Pair {
    pub(super) const NONE: Self = Self {
        answer: NONE,
        of_asked: NONE,
    };
}

/// What is not there.
#[derive(Clone, Debug)]
pub(super) enum Denied {
    /// The name that is asked.
    Asked,
    /// This name.
    Name(Name),
    /// Every type of this name but these.
    Types(Name, Vec<u16>),
}

/// A message, and the same one with signatures when the zone is signed.
pub(super) struct Both<'a> {
    pub(super) plain: Message<'a>,
    pub(super) signed: Option<Message<'a>>,
}

impl<'a> Both<'a> {
    pub(super) fn build(
        signer: Option<&'a ZoneSigner>,
        build: impl Fn(Option<&'a ZoneSigner>) -> Message<'a>,
    ) -> Self {
        Self {
            plain: build(None),
            signed: signer.map(|signer| build(Some(signer))),
        }
    }
}

impl Denied {
    /// The types that its NSEC record lists.
    fn types(&self) -> Vec<u8> {
        let types: &[u16] = match self {
            Self::Asked | Self::Name(_) => &[NXNAME],
            Self::Types(_, types) => types,
        };
        bitmap(types.iter().copied().chain([RRSIG, NSEC]))
    }
}

impl Message<'_> {
    /// Adds the signatures of a set, which is there already; `original` is the TTL of the set in the zone.
    pub(super) fn signatures<'r>(
        &mut self,
        to: Section,
        owner: &[u8],
        kind: u16,
        [ttl, original]: [u32; 2],
        records: impl ExactSizeIterator<Item = &'r [u8]>,
    ) {
        let Some(signer) = self.signer.filter(|_| records.len() > 0) else {
            return;
        };
        if !self.is_of_asked(owner) {
            for data in signer.sign(owner, kind, original, records) {
                self.record(to, owner, RRSIG, ttl, &data);
            }
            return;
        }
        let mut data = signer.head(signer.zsk(), owner, kind, original);
        signer.write_times(&mut data);
        data.extend_from_slice(&[0; SIGNATURE]);
        self.record(to, owner, RRSIG, ttl, &data);
        self.of_asked.holes.push(Hole {
            at: (self.length() - data.len()) as u16,
            tails: tails(kind, original, records).into(),
        });
    }

    /// Adds what denies, where the zone is signed. It must be the last of the message, but for what is additional.
    pub(super) fn deny(&mut self, denied: &Denied, ttl: u32) {
        if self.signer.is_none() {
            return;
        }
        let types = denied.types();
        match denied {
            Denied::Name(owner) | Denied::Types(owner, _) if !self.is_of_asked(owner) => {
                let data = nsec(owner, &types);
                self.record(Section::Authority, owner, NSEC, ttl, &data);
                let records = [&*data].into_iter();
                self.signatures(Section::Authority, owner, NSEC, [ttl, ttl], records);
            }
            _ => self.of_asked.denial = Some(types.into()),
        }
    }

    /// Whether a name is the one that is asked, whichever that is.
    fn is_of_asked(&self, owner: &[u8]) -> bool {
        self.asked == Asked::Wildcard && owner == self.base
    }
}

impl Within<'_> {
    /// The types of a name, as an NSEC record of its zone lists them.
    pub(super) fn types(&self, records: &[u8]) -> Vec<u16> {
        let sets = self.zone.names.get(records);
        let types = sets.into_iter().flatten().map(|set| set.rtype);
        match *records != *self.zone.apex && self.zone.set(records, NS).is_some() {
            true => types.filter(|kind| [NS, DS].contains(kind)).collect(),
            false => types.collect(),
        }
    }

    /// That the parent has no DS records of a delegation, which may be to a zone that is served too.
    pub(super) fn no_ds(&self, cut: &Name) -> Denied {
        Denied::Types(cut.clone(), vec![NS])
    }
}

/// Makes the signatures of a zone on all cores: most of those that its answers need.
pub(super) fn prepare(within: Within<'_>, signer: &ZoneSigner, chooser: &dyn Choose) {
    let mine = |(_, number): &(_, &Option<usize>)| **number == Some(within.number);
    let names: Vec<&Name> = within
        .tree
        .iter()
        .filter(mine)
        .map(|(name, _)| name)
        .collect();
    let ttl = within.negative_ttl();
    signer.prepare(&names, |name| jobs(within, name, ttl, chooser));
}

/// What is signed of a name; `ttl` is how long may be kept that there is no more, in seconds.
fn jobs(within: Within<'_>, name: &Name, ttl: u32, chooser: &dyn Choose) -> Vec<Job> {
    let zone = within.zone;
    let cut = zone.cut(name);
    if name.is_wildcard() || cut.is_some_and(|cut| *cut != **name) {
        return Vec::new();
    }
    let seen = |set: &&RecordSet| cut.is_none() || set.rtype == DS;
    let sets = zone.names.get(name).into_iter().flatten().filter(seen);
    let variants = sets.flat_map(|set| {
        let variants = match &set.policy {
            None => vec![set.records.iter().map(|one| one.data.to_vec()).collect()],
            Some(policy) => match chooser.policy(policy) {
                Some(id) => chooser.variants(id, set.rtype),
                None => Vec::new(),
            },
        };
        let filled = variants.into_iter().filter(|records| !records.is_empty());
        filled.map(|records| (set.rtype, set.ttl, records))
    });
    let denied = zone.set(name, CNAME).is_none().then(|| {
        let types = Denied::Types(name.clone(), within.types(name)).types();
        (NSEC, ttl, vec![nsec(name, &types)])
    });
    let all = variants.chain(denied);
    all.map(|(rtype, ttl, records)| Job {
        owner: name.clone(),
        rtype,
        ttl,
        records,
    })
    .collect()
}
