//! Where a name leads in the zones of this server: through aliases of every kind, without asking anybody.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::wire::rtype::{A, AAAA, ALIAS, CNAME, DNAME, NS};
use crate::zone::{Name, RecordSet, Sets, Zone, suffixes};

/// Zones by their names.
pub(crate) struct Zones<'a> {
    by_apex: FxHashMap<&'a [u8], &'a Zone>,
}

/// Where a name leads.
#[derive(Debug)]
pub(crate) enum End<'a> {
    /// To these sets of a zone, which has nothing there that leads on.
    Here(&'a Sets),
    /// To a name of others.
    Outside(Name),
    /// To a name of ours that is not there.
    Nowhere,
    /// Back to where it has been, or too far.
    Circle,
    /// Into a zone whose records have not come from its primary.
    Unknown,
}

/// A step on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A wildcard stands for a name.
    Wildcard(Name, Name),
    /// A name is an alias of another, by a record of this type: CNAME or ALIAS.
    Alias(u16, Name, Name),
    /// By a DNAME record of the first name, the second is the third.
    Moved(Name, Name, Name),
}

/// How a name leads somewhere.
#[derive(Debug)]
pub(crate) struct Way<'a> {
    pub(crate) steps: Vec<Step>,
    pub(crate) end: End<'a>,
    /// The least TTL of what leads on, in seconds.
    pub(crate) ttl: u32,
}

/// Names lead on so often.
pub(super) const LONGEST: usize = 8;

impl<'a> Zones<'a> {
    pub(crate) fn new(zones: &'a [Arc<Zone>]) -> Self {
        let by_apex = zones.iter().map(|zone| (&*zone.apex, &**zone));
        Self {
            by_apex: by_apex.collect(),
        }
    }

    /// Follows a name, as far as a question for this type does: an `ALIAS` is for addresses alone.
    pub(crate) fn follow(&self, name: &Name, kind: u16) -> Way<'a> {
        let mut way = Way {
            steps: Vec::new(),
            end: End::Circle,
            ttl: u32::MAX,
        };
        let mut at = name.clone();
        for _ in 0..=LONGEST {
            match self.step(&at, kind, &mut way) {
                Ok(next) => at = next,
                Err(end) => {
                    way.end = end;
                    break;
                }
            }
        }
        way
    }

    /// The next name, or the end.
    fn step(&self, at: &Name, kind: u16, way: &mut Way<'a>) -> Result<Name, End<'a>> {
        let Some(zone) = suffixes(at).find_map(|above| self.by_apex.get(above)) else {
            return Err(End::Outside(at.clone()));
        };
        if zone.names.is_empty() {
            return Err(End::Unknown);
        }
        if let Some(cut) = zone.cut(at) {
            let dname = zone
                .set(cut, DNAME)
                .filter(|_| zone.set(cut, NS).is_none() || *cut == *zone.apex);
            let Some(dname) = dname else {
                return Err(End::Outside(at.clone()));
            };
            let (cut, target) = (Name::from(cut), target(dname).ok_or(End::Nowhere)?);
            let next = at.moved(&cut, &target).ok_or(End::Nowhere)?;
            way.ttl = way.ttl.min(dname.ttl);
            way.steps.push(Step::Moved(cut, at.clone(), next.clone()));
            return Ok(next);
        }
        let sets = match zone.names.get(at) {
            Some(sets) => sets,
            None => {
                let (wildcard, sets) = wildcard(zone, at).ok_or(End::Nowhere)?;
                way.steps.push(Step::Wildcard(wildcard, at.clone()));
                sets
            }
        };
        let cname = sets.of(CNAME).filter(|_| kind != CNAME);
        let alias = sets.of(ALIAS).filter(|_| [A, AAAA].contains(&kind));
        let Some(alias) = cname.or(alias) else {
            return Err(End::Here(sets));
        };
        let next = target(alias).ok_or(End::Nowhere)?;
        way.ttl = way.ttl.min(alias.ttl);
        let step = Step::Alias(alias.rtype, at.clone(), next.clone());
        match way.steps.contains(&step) {
            true => Err(End::Circle),
            false => {
                way.steps.push(step);
                Ok(next)
            }
        }
    }
}

/// The name that an alias leads to.
pub(crate) fn target(set: &RecordSet) -> Option<Name> {
    let (_, target) = set.targets().next()?;
    Some(Name::from(&*target))
}

/// The wildcard that stands for a name, with its sets (RFC 4592, 3.3.1): the one below the closest name that there is.
fn wildcard<'a>(zone: &'a Zone, name: &Name) -> Option<(Name, &'a Sets)> {
    let mut nearer: &[u8] = name;
    for above in suffixes(name).skip(1) {
        let wildcard = Name::from(above).child(b"*")?;
        if let Some(sets) = zone.names.get(&wildcard) {
            let hidden = zone.names.keys().any(|other| other.is_in(nearer));
            return (!hidden).then_some((wildcard, sets));
        }
        if *above == *zone.apex {
            break;
        }
        nearer = above;
    }
    None
}
