//! What a zone says of a name: followed through aliases, at compile time.

use std::borrow::Cow;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::message::{Message, Section};
use super::signed::Denied;
use crate::wire::rtype::{A, AAAA, CNAME, DNAME, DS, HTTPS, MX, NS, SOA, SRV, SVCB};
use crate::zone::{Name, Record, RecordSet, Zone, parent, suffixes};

/// All names, each with the number of its zone; those above all zones have none.
pub(super) type Tree = FxHashMap<Name, Option<usize>>;

/// Where a chain of aliases ends.
#[derive(Debug)]
pub(super) enum End {
    /// In another zone, or nowhere within reach.
    Outside,
    /// At a delegation.
    Delegated(Name),
    /// At this name, which is not there.
    Nowhere(Name),
    /// At the first name, which is below the DNAME record of the second.
    Moved(Name, Name),
    /// At this name; its records are those of the second, which is another for a wildcard.
    At(Name, Name),
}

/// Aliases with their owners, one after the other: a DNAME record is followed by the CNAME record that is made of it.
pub(super) type Chain<'a> = Vec<(Name, Cow<'a, RecordSet>)>;

/// Aliases are followed so far; a resolver asks for the rest.
const LONGEST_CHAIN: usize = 8;

/// A zone among the others.
#[derive(Clone, Copy)]
pub(super) struct Within<'a> {
    pub(super) zone: &'a Zone,
    pub(super) number: usize,
    pub(super) tree: &'a Tree,
}

impl<'a> Within<'a> {
    /// Where a name leads, without following aliases.
    fn reach(&self, name: &Name) -> End {
        let nearest = suffixes(name).find_map(|above| Some((above, self.tree.get(above)?)));
        let Some((closest, Some(number))) = nearest else {
            return End::Outside;
        };
        if *number != self.number {
            return End::Outside;
        }
        if let Some(cut) = self.zone.cut(name) {
            return match self.zone.set(cut, NS) {
                Some(_) if *cut != *self.zone.apex => End::Delegated(Name::from(cut)),
                _ => End::Moved(name.clone(), Name::from(cut)),
            };
        }
        if *closest == **name {
            return End::At(name.clone(), name.clone());
        }
        let wildcard = Name::from(closest).child(b"*");
        match wildcard.filter(|wildcard| self.zone.names.contains_key(wildcard)) {
            Some(wildcard) => End::At(name.clone(), wildcard),
            None => End::Nowhere(name.clone()),
        }
    }

    /// Follows the aliases that begin at `name`: each with its owner, and where they end.
    pub(super) fn chain(&self, name: &Name) -> (Chain<'a>, End) {
        let mut chain = Chain::new();
        let mut end = End::At(name.clone(), name.clone());
        loop {
            let links = match &end {
                End::At(owner, records) => match self.zone.set(records, CNAME) {
                    Some(alias) => vec![(owner.clone(), Cow::Borrowed(alias))],
                    None => return (chain, end),
                },
                End::Moved(name, above) => self.moved(name, above),
                _ => return (chain, end),
            };
            let again = links.iter().any(|(owner, set)| {
                let same = |(seen, of): &(Name, Cow<'_, RecordSet>)| {
                    (seen, of.rtype) == (owner, set.rtype)
                };
                chain.iter().any(same)
            });
            let target = links.last().and_then(|(_, alias)| alias.targets().next());
            let target = target.map(|(_, target)| Name::from(&*target));
            if again || chain.len() + links.len() > LONGEST_CHAIN {
                return (chain, End::Outside);
            }
            chain.extend(links);
            end = match target {
                Some(target) => self.reach(&target),
                None => End::Outside,
            };
        }
    }

    /// The DNAME record of `above`, and the CNAME record that it makes for `name` (RFC 6672, 3.1); nothing when the
    /// new name is too long.
    fn moved(&self, name: &Name, above: &Name) -> Chain<'a> {
        let Some(dname) = self.zone.set(above, DNAME) else {
            return Chain::new();
        };
        let target = dname.targets().next();
        let moved = target.and_then(|(_, target)| name.moved(above, &target));
        let Some(moved) = moved else {
            return Chain::new();
        };
        let made = RecordSet {
            rtype: CNAME,
            records: vec![Record {
                data: (*moved).into(),
                place: dname.place,
            }],
            ..dname.clone()
        };
        vec![
            (above.clone(), Cow::Borrowed(dname)),
            (name.clone(), Cow::Owned(made)),
        ]
    }

    /// Adds the SOA record that says how long nothing may be kept (RFC 2308, 3), and what denies in a signed zone.
    pub(super) fn nothing(&self, denied: &Denied, message: &mut Message<'_>) {
        let (apex, ttl) = (&self.zone.apex, self.negative_ttl());
        let Some((soa, record)) = self.soa() else {
            return;
        };
        message.record(Section::Authority, apex, SOA, ttl, &record.data);
        let records = [&*record.data].into_iter();
        message.signatures(Section::Authority, apex, SOA, [ttl, soa.ttl], records);
        message.deny(denied, ttl);
    }

    /// How long may be kept that something is not there, in seconds (RFC 2308, 5; RFC 9077, 3).
    pub(super) fn negative_ttl(&self) -> u32 {
        let Some((soa, record)) = self.soa() else {
            return 0;
        };
        let minimum = record.data.last_chunk::<4>();
        let minimum = minimum.map_or(0, |end| u32::from_be_bytes(*end));
        soa.ttl.min(minimum)
    }

    fn soa(&self) -> Option<(&'a RecordSet, &'a Record)> {
        let soa = self.zone.set(&self.zone.apex, SOA)?;
        Some((soa, soa.records.first()?))
    }

    /// Adds the servers of a delegation, and their addresses as far as this zone has them.
    pub(super) fn referral(&self, cut: &[u8], message: &mut Message<'_>) {
        let Some(servers) = self.zone.set(cut, NS) else {
            return;
        };
        add_unsigned(message, Section::Authority, cut, servers);
        match self.zone.set(cut, DS) {
            Some(keys) if message.signer.is_some() => {
                add(message, Section::Authority, cut, keys);
            }
            Some(_) => {}
            None => message.deny(&self.no_ds(&Name::from(cut)), self.negative_ttl()),
        }
        let targets = distinct(servers);
        // Who asks cannot find the others without these (RFC 9471).
        let (inside, outside): (Vec<_>, Vec<_>) =
            targets.into_iter().partition(|target| target.is_in(cut));
        self.glue(&inside, message);
        message.optional_from_here();
        self.glue(&outside, message);
    }

    /// Adds the addresses of the names that a set leads to, where there is room.
    pub(super) fn additional(&self, owner: &Name, set: &RecordSet, message: &mut Message<'_>) {
        if ![NS, MX, SRV, SVCB, HTTPS].contains(&set.rtype) {
            return;
        }
        message.optional_from_here();
        let mut targets = distinct(set);
        for target in &mut targets {
            // "." is the owner itself (RFC 9460, 2.5.2).
            if **target == [0] && [SVCB, HTTPS].contains(&set.rtype) {
                *target = owner.clone();
            }
        }
        for target in targets {
            // A wildcard may stand for it.
            if let End::At(owner, records) = self.reach(&target) {
                self.addresses(&owner, &records, message);
            }
        }
    }

    /// Adds addresses also of names below delegations, which are of no other use, and not signed.
    fn glue(&self, names: &[Name], message: &mut Message<'_>) {
        for name in names {
            for set in self.addresses_of(name) {
                add_unsigned(message, Section::Additional, name, set);
            }
        }
    }

    fn addresses(&self, owner: &Name, records: &Name, message: &mut Message<'_>) {
        for set in self.addresses_of(records) {
            add(message, Section::Additional, owner, set);
        }
    }

    fn addresses_of(&self, records: &[u8]) -> impl Iterator<Item = &'a RecordSet> {
        let sets = [A, AAAA].map(|kind| self.zone.set(records, kind));
        sets.into_iter().flatten()
    }
}

/// Adds all records of a set, with its signatures.
pub(super) fn add(message: &mut Message<'_>, to: Section, owner: &[u8], set: &RecordSet) {
    add_unsigned(message, to, owner, set);
    let records = set.records.iter().map(|record| &*record.data);
    message.signatures(to, owner, set.rtype, [set.ttl; 2], records);
}

/// Adds all records of a set for which this zone is no authority.
pub(super) fn add_unsigned(message: &mut Message<'_>, to: Section, owner: &[u8], set: &RecordSet) {
    for record in &set.records {
        message.record(to, owner, set.rtype, set.ttl, &record.data);
    }
}

fn distinct(set: &RecordSet) -> Vec<Name> {
    let mut names: Vec<Name> = Vec::new();
    for (_, target) in set.targets() {
        let name = Name::from(&*target);
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// All names of the zones, those between them, and those above.
pub(super) fn tree(zones: &[Arc<Zone>]) -> Tree {
    let apexes: FxHashMap<&[u8], usize> = zones
        .iter()
        .enumerate()
        .map(|(number, zone)| (&*zone.apex, number))
        .collect();
    let zone_of = |name: &[u8]| suffixes(name).find_map(|above| apexes.get(above).copied());
    let mut tree = Tree::default();
    for (number, zone) in zones.iter().enumerate() {
        let mine = zone
            .names
            .keys()
            .filter(|name| zone_of(name) == Some(number));
        for name in mine.chain([&zone.apex]) {
            let mut above = Some(&**name);
            while let Some(name) = above.filter(|name| !tree.contains_key(*name)) {
                tree.insert(Name::from(name), zone_of(name));
                above = parent(name);
            }
        }
    }
    tree
}
