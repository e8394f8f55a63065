//! Every answer of one configuration, never changed, only replaced.

use std::sync::Arc;

use super::bytes::Answer;
use super::choose::{Choose, PolicyId};
use super::names::NameTable;
use super::signed::{OfAsked, Pair};
use crate::dnssec::online::Online;

/// Every answer of one configuration.
#[derive(Debug)]
pub struct Snapshot {
    pub(super) names: NameTable,
    /// By the numbers of their names.
    pub(super) nodes: Vec<Node>,
    /// The types of all nodes; each node has some that stand together.
    pub(super) kinds: Vec<Kind>,
    pub(super) answers: Vec<Answer>,
    /// By the numbers of answers, those with signatures in their place; shorter where there are none.
    pub(super) pairs: Vec<Pair>,
    /// Answers with signatures.
    pub(super) signed: Vec<Answer>,
    /// What is signed for the name that is asked.
    pub(super) of_asked: Vec<OfAsked>,
    pub(super) dynamics: Vec<Dynamic>,
    pub(super) zones: Vec<Served>,
    pub(super) chooser: Arc<dyn Choose>,
}

/// What is known of a name: one line of the cache, with the types that most names have.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub(super) struct Node {
    /// Its zone; [`NONE`] for a name above all zones.
    pub(super) zone: u32,
    /// Its first types; what is left over is [`Kind::NONE`].
    pub(super) first: [Kind; 2],
    /// Its other types: where they begin, and how many.
    pub(super) kinds: u32,
    pub(super) count: u16,
    pub(super) below: Below,
    /// For every other type.
    pub(super) other: Given,
    /// For ANY.
    pub(super) any: Given,
    /// The wildcard below it; [`NONE`] without one.
    pub(super) wildcard: u32,
    /// At the apex of a zone whose parent is served too: what the parent says of its DS records.
    pub(super) delegation: Given,
}

/// What happens below a name, where no other name is nearer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Below {
    /// Nothing, or what the wildcard says.
    Nothing,
    /// Other servers know: the node's `other`.
    Delegated,
    /// Another tree (RFC 6672): the number of the answer with its DNAME record.
    Dname(u32),
}

/// The answer for a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kind {
    pub(super) rtype: u16,
    pub(super) given: Given,
}

/// The number of an answer, or of a [`Dynamic`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Given(u32);

/// A policy's answers: one for each of its variants, from `first` on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dynamic {
    pub(super) policy: PolicyId,
    pub(super) rtype: u16,
    pub(super) first: u32,
    pub(super) count: u32,
}

/// What all names of a zone share.
#[derive(Clone, Debug)]
pub(super) struct Served {
    pub(super) apex: crate::zone::Name,
    /// There is no such name.
    pub(super) nxdomain: u32,
    /// There is no such type.
    pub(super) nodata: u32,
    /// What signs for the name that is asked; none in a zone that is not signed.
    pub(super) online: Option<Online>,
}

/// No number.
pub(super) const NONE: u32 = u32::MAX;

const DYNAMIC: u32 = 1 << 31;

impl Kind {
    /// 0 is no type, and nobody gets to ask for it.
    pub(super) const NONE: Self = Self {
        rtype: 0,
        given: Given::NOTHING,
    };
}

impl Given {
    pub(super) const NOTHING: Self = Self(NONE);
    /// SERVFAIL: there are records, and nobody knows them now. It is a dynamic one that there never is.
    pub(super) const UNKNOWN: Self = Self(NONE - 1);

    pub(super) fn fixed(answer: u32) -> Self {
        debug_assert!(answer < DYNAMIC || answer == NONE);
        Self(answer)
    }

    pub(super) fn dynamic(number: u32) -> Self {
        debug_assert!(number < DYNAMIC - 2);
        Self(number | DYNAMIC)
    }

    /// The number of the answer, or else of the dynamic one.
    pub(super) fn split(self) -> Result<u32, u32> {
        match self.0 & DYNAMIC {
            0 => Ok(self.0),
            _ => Err(self.0 & !DYNAMIC),
        }
    }
}

impl Snapshot {
    /// Gives up the room in which nothing more will stand: up to half of it.
    pub(super) fn fit(&mut self) {
        self.kinds.shrink_to_fit();
        self.answers.shrink_to_fit();
        self.pairs.shrink_to_fit();
        self.signed.shrink_to_fit();
        self.of_asked.shrink_to_fit();
        self.dynamics.shrink_to_fit();
    }

    /// How many zones it serves.
    pub fn zones(&self) -> usize {
        self.zones.len()
    }

    /// The answer with signatures in place of one without, and what of it is signed for the name that is asked.
    pub(super) fn signed(&self, answer: u32) -> Option<(&Answer, Option<&OfAsked>)> {
        let pair = self.pairs.get(answer as usize)?;
        let answer = self.signed.get(pair.answer as usize)?;
        Some((answer, self.of_asked.get(pair.of_asked as usize)))
    }

    /// What signs for the names that are asked in a zone.
    pub(super) fn online(&self, apex: &[u8]) -> Option<&Online> {
        let zone = self.names.get(apex)?;
        let zone = self.nodes.get(zone as usize)?.zone;
        self.zones.get(zone as usize)?.online.as_ref()
    }

    /// Whether the zone of this name is signed.
    pub fn is_signed(&self, apex: &[u8]) -> bool {
        self.online(apex).is_some()
    }

    /// How many names it knows, with those between and above.
    pub fn names(&self) -> usize {
        self.nodes.len()
    }
}
