//! From a name and type to an answer.

use super::snapshot::{Below, Given, Kind, NONE, Node, Served};
use super::{PolicyId, Snapshot};
use crate::wire::{QueryName, rtype};

/// What was found for a query.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    /// Why this answer.
    pub why: Why<'a>,
    /// The zone's name; none when the name is in no zone.
    pub zone: Option<&'a [u8]>,
    pub(super) given: Given,
    /// The DNAME record's owner, when the answer needs a CNAME record made for this name.
    pub(super) dname: Option<&'a [u8]>,
}

/// Why an answer is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why<'a> {
    /// The name is in no zone.
    NotOurs,
    /// The name is there.
    Exact,
    /// The name is not there, and this wildcard stands for it.
    Wildcard(&'a [u8]),
    /// Other servers know, from this name on.
    Delegated(&'a [u8]),
    /// This name has a DNAME record.
    Dname(&'a [u8]),
    /// There is no such name; this is the closest that there is.
    Nowhere(&'a [u8]),
}

impl Snapshot {
    /// Finds the answer for a name and type.
    pub fn find<'a>(&'a self, name: &QueryName, qtype: u16) -> Found<'a> {
        self.find_from(self.names.get(name.wire()), name, qtype)
    }

    /// The same with the number of the name, where there is such a name.
    pub(super) fn find_from<'a>(
        &'a self,
        exact: Option<u32>,
        name: &QueryName,
        qtype: u16,
    ) -> Found<'a> {
        match exact {
            Some(number) => self.at(number, qtype, Why::Exact),
            None => self.below(self.closest(name), qtype),
        }
    }

    /// The policy that chooses the records, and their type; none where they are always the same.
    pub fn policy(&self, found: &Found<'_>) -> Option<(PolicyId, u16)> {
        let dynamic = Some(found.given)
            .filter(|given| *given != Given::NOTHING)?
            .split()
            .err()?;
        let dynamic = self.dynamics.get(dynamic as usize)?;
        Some((dynamic.policy, dynamic.rtype))
    }

    /// The closest name above that there is. Names are closed under their parents: with a name all above
    /// it are there, so that bisection finds where they end.
    fn closest(&self, name: &QueryName) -> Option<u32> {
        let (mut missing, mut there) = (0, name.labels());
        let mut found = self.names.get(name.suffix(there))?;
        while there - missing > 1 {
            let middle = missing + (there - missing) / 2;
            match self.names.get(name.suffix(middle)) {
                Some(number) => (there, found) = (middle, number),
                None => missing = middle,
            }
        }
        Some(found)
    }

    /// For a name below this one, and no other.
    fn below(&self, closest: Option<u32>, qtype: u16) -> Found<'_> {
        let Some(number) = closest else {
            return Found::NOT_OURS;
        };
        let node = &self.nodes[number as usize];
        let name = self.names.name(number);
        let Some(zone) = self.zone_of(node) else {
            return Found::NOT_OURS;
        };
        let found = |why, given| Found {
            why,
            zone: Some(&zone.apex),
            given,
            dname: None,
        };
        match node.below {
            // What stands below a delegation leads to the same servers.
            Below::Delegated => found(Why::Delegated(name), node.other),
            Below::Dname(answer) => Found {
                dname: Some(name),
                ..found(Why::Dname(name), Given::fixed(answer))
            },
            Below::Nothing if node.wildcard != NONE => {
                let wildcard = self.names.name(node.wildcard);
                self.at(node.wildcard, qtype, Why::Wildcard(wildcard))
            }
            Below::Nothing => found(Why::Nowhere(name), Given::fixed(zone.nxdomain)),
        }
    }

    /// For a name that is there.
    fn at<'a>(&'a self, number: u32, qtype: u16, why: Why<'a>) -> Found<'a> {
        let node = &self.nodes[number as usize];
        let Some(zone) = self.zone_of(node) else {
            return Found::NOT_OURS;
        };
        let start = node.kinds as usize;
        let more = || self.kinds[start..start + usize::from(node.count)].iter();
        let is_asked = |kind: &&Kind| kind.rtype == qtype;
        let found = node.first.iter().find(is_asked);
        let given = match found.or_else(|| more().find(is_asked)) {
            Some(kind) => kind.given,
            None if qtype == rtype::ANY => node.any,
            None if qtype == rtype::DS && node.delegation != Given::NOTHING => node.delegation,
            None => node.other,
        };
        let delegated = node.below == Below::Delegated && given == node.other;
        Found {
            why: match delegated {
                true => Why::Delegated(self.names.name(number)),
                false => why,
            },
            zone: Some(&zone.apex),
            given,
            dname: None,
        }
    }

    fn zone_of(&self, node: &Node) -> Option<&Served> {
        self.zones.get(node.zone as usize)
    }
}

impl Found<'_> {
    const NOT_OURS: Self = Self {
        why: Why::NotOurs,
        zone: None,
        given: Given::NOTHING,
        dname: None,
    };
}
