//! Addresses where aliases stand.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use chassis::config::Diagnostic;

use super::follow::{End, LONGEST, Zones, target};
use crate::wire::rtype::{A, AAAA, ALIAS};
use crate::zone::{Name, Record, RecordSet, Zone};

/// What is asked for: a name, and A or AAAA.
pub(crate) type Question = (Name, u16);

/// The addresses of others' names, as far as they are known.
pub(crate) type Known = BTreeMap<Question, Vec<IpAddr>>;

/// The names of others that aliases lead to.
pub(crate) fn outside(zones: &[Arc<Zone>]) -> BTreeSet<Name> {
    let ways = Zones::new(zones);
    let targets = aliases(zones).filter_map(|(_, set)| target(set));
    let ends = targets.map(|target| ways.follow(&target, A).end);
    let outside = ends.filter_map(|end| match end {
        End::Outside(name) => Some(name),
        _ => None,
    });
    outside.collect()
}

/// Aliases that are never answered with an address, which is probably not meant.
pub(crate) fn warnings(zones: &[Arc<Zone>]) -> Vec<Diagnostic> {
    let ways = Zones::new(zones);
    let warning = |(owner, set): (&Name, &RecordSet)| {
        let to = target(set)?;
        let why = match ways.follow(&to, A).end {
            End::Outside(_) | End::Unknown => return None,
            End::Here(sets) if sets.of(A).or(sets.of(AAAA)).is_some() => return None,
            End::Here(_) => "has no address",
            End::Nowhere => "is not there",
            // It is a mistake already.
            End::Circle => return None,
        };
        let what = format!("`{to}`, to which the ALIAS record of `{owner}` leads, {why}");
        Some(Diagnostic::new(set.place, what))
    };
    aliases(zones).filter_map(warning).collect()
}

/// Aliases that no address can come of, whatever other servers say.
pub(crate) fn circles(zones: &[Arc<Zone>]) -> Vec<Diagnostic> {
    let ways = Zones::new(zones);
    let circle = |(owner, set): (&Name, &RecordSet)| {
        let to = target(set)?;
        let End::Circle = ways.follow(&to, A).end else {
            return None;
        };
        let what = format!("the ALIAS record of `{owner}` leads in a circle, or too far");
        let help = format!("`{to}` leads back to itself, or on by more than {LONGEST} names");
        Some(Diagnostic::new(set.place, what).help(help))
    };
    aliases(zones).filter_map(circle).collect()
}

/// The zones with A and AAAA records in the place of `ALIAS` records. A set without records stands where nobody knows
/// them.
pub(crate) fn place<'a>(zones: &'a [Arc<Zone>], known: &Known) -> Cow<'a, [Arc<Zone>]> {
    if aliases(zones).next().is_none() {
        return Cow::Borrowed(zones);
    }
    let ways = Zones::new(zones);
    let mut placed = zones.to_vec();
    for zone in placed.iter_mut().filter(|zone| has_alias(zone)) {
        // The others stay the ones that are configured.
        let zone = Arc::make_mut(zone);
        for sets in zone.names.values_mut() {
            if let Some(alias) = sets.take(ALIAS) {
                let found = addresses(&alias, &ways, known);
                found.into_iter().for_each(|set| sets.put(set));
            }
        }
    }
    Cow::Owned(placed)
}

/// Every alias, with its owner.
pub(crate) fn aliases(zones: &[Arc<Zone>]) -> impl Iterator<Item = (&Name, &RecordSet)> {
    let sets = zones.iter().flat_map(|zone| zone.sets());
    sets.filter(|(_, set)| set.rtype == ALIAS)
}

fn has_alias(zone: &Zone) -> bool {
    zone.sets().any(|(_, set)| set.rtype == ALIAS)
}

fn addresses(alias: &RecordSet, ways: &Zones<'_>, known: &Known) -> Vec<RecordSet> {
    let Some(target) = target(alias) else {
        return Vec::new();
    };
    let way = ways.follow(&target, A);
    let set = |rtype| RecordSet {
        rtype,
        ttl: alias.ttl.min(way.ttl),
        place: alias.place,
        records: Vec::new(),
        policy: None,
    };
    let of = |rtype| match &way.end {
        End::Here(sets) => sets.of(rtype).map(|there| RecordSet {
            ttl: alias.ttl.min(way.ttl).min(there.ttl),
            records: there.records.clone(),
            policy: there.policy.clone(),
            ..set(rtype)
        }),
        End::Nowhere => None,
        End::Circle | End::Unknown => Some(set(rtype)),
        End::Outside(name) => match known.get(&(name.clone(), rtype)) {
            Some(addresses) if addresses.is_empty() => None,
            known => Some(RecordSet {
                records: known
                    .into_iter()
                    .flatten()
                    .map(|address| record(*address, alias))
                    .collect(),
                ..set(rtype)
            }),
        },
    };
    [A, AAAA].into_iter().filter_map(of).collect()
}

fn record(address: IpAddr, alias: &RecordSet) -> Record {
    Record {
        data: match address {
            IpAddr::V4(address) => address.octets().into(),
            IpAddr::V6(address) => address.octets().into(),
        },
        place: alias.place,
    }
}
