//! Judges a zone as a whole.

use chassis::config::Diagnostic;

use super::{Name, Read, RecordSet, Zone, suffixes};
use crate::wire::rtype::{self, A, AAAA, ALIAS, CNAME, DNAME, DS, NS, NSEC, RRSIG, SOA};

/// Finds what no zone may hold, and what is probably not meant.
pub(super) fn judge(zone: &Zone, read: &mut Read) {
    let Read {
        mistakes, warnings, ..
    } = read;
    apex(zone, mistakes);
    for (name, sets) in &zone.names {
        let sole = sets.of(CNAME);
        if let Some(cname) = sole {
            alone(name, cname, sets.iter(), mistakes);
        }
        if sets.of(ALIAS).is_some() {
            instead_of_addresses(name, sets.iter(), mistakes);
        }
        for set in sets {
            one_of_a_kind(zone, name, set, mistakes);
        }
        if let Some(cut) = zone.cut(name) {
            hidden(zone, name, cut, sets.iter(), warnings);
        }
    }
    targets(zone, mistakes, warnings);
}

/// Finds DS records that no validator can use: they stand at delegations, on the parent's side (RFC 4035, 2.4). Not of zones
/// that come from primaries, whose other servers answer with them too.
pub(super) fn judge_delegations(zone: &Zone, mistakes: &mut Vec<Diagnostic>) {
    for (name, set) in zone.sets().filter(|(_, set)| set.rtype == DS) {
        if *name == zone.apex {
            let what = format!("the DS records of `{name}` stand in the zone above it");
            let help = "here are the keys that they tell of";
            mistakes.push(Diagnostic::new(set.place, what).help(help));
        } else if zone.set(name, NS).is_none() {
            let what = format!("`{name}` has DS records and no NS records");
            let help =
                "a DS record tells of the keys of a zone that is delegated: add its NS records";
            mistakes.push(Diagnostic::new(set.place, what).help(help));
        }
        for record in &set.records {
            // Tag, algorithm and type of the digest come before it (RFC 4034, 5.1).
            let [_, _, _, kind, digest @ ..] = &record.data[..] else {
                continue;
            };
            let known = DIGESTS.iter().find(|(number, ..)| number == kind);
            if let Some((_, name, octets)) = known.filter(|(.., octets)| *octets != digest.len()) {
                let found = digest.len();
                let what = format!(
                    "a digest of type {kind} ({name}) has {octets} octets, and this one has {found}"
                );
                mistakes.push(Diagnostic::new(record.place, what));
            }
        }
    }
}

/// Types of digests with their lengths in octets (RFC 3658, RFC 4509, RFC 6605).
const DIGESTS: [(u8, &str, usize); 3] = [(1, "SHA-1", 20), (2, "SHA-256", 32), (4, "SHA-384", 48)];

fn apex(zone: &Zone, mistakes: &mut Vec<Diagnostic>) {
    for (rtype, what) in [(SOA, "SOA record"), (NS, "NS records")] {
        if zone.set(&zone.apex, rtype).is_none() {
            let what = format!("the zone `{}` has no {what}", zone.apex);
            mistakes.push(Diagnostic::new(zone.place, what));
        }
    }
}

/// Nothing stands beside a CNAME but what is about it (RFC 1034, 3.6.2; RFC 4034, 3).
fn alone<'a>(
    name: &Name,
    cname: &RecordSet,
    sets: impl Iterator<Item = &'a RecordSet>,
    mistakes: &mut Vec<Diagnostic>,
) {
    if let Some(second) = cname.records.get(1) {
        let what = format!("`{name}` has several CNAME records");
        mistakes.push(Diagnostic::new(second.place, what));
    }
    for other in sets.filter(|set| ![CNAME, RRSIG, NSEC].contains(&set.rtype)) {
        let kind = rtype::name(other.rtype);
        let what = format!("`{name}` has a CNAME record and {kind} records");
        let help = "a CNAME stands alone: the name is an alias and has nothing of its own";
        mistakes.push(Diagnostic::new(other.place, what).help(help));
    }
}

/// An alias is the addresses of its name.
fn instead_of_addresses<'a>(
    name: &Name,
    sets: impl Iterator<Item = &'a RecordSet>,
    mistakes: &mut Vec<Diagnostic>,
) {
    for other in sets.filter(|set| [A, AAAA].contains(&set.rtype)) {
        let kind = rtype::name(other.rtype);
        let what = format!("`{name}` has an ALIAS record and {kind} records");
        let help = "an ALIAS is answered with the addresses of its target, and no others";
        mistakes.push(Diagnostic::new(other.place, what).help(help));
    }
}

fn one_of_a_kind(zone: &Zone, name: &Name, set: &RecordSet, mistakes: &mut Vec<Diagnostic>) {
    let kind = rtype::name(set.rtype);
    if matches!(set.rtype, SOA | DNAME | ALIAS)
        && let Some(second) = set.records.get(1)
    {
        let what = format!("`{name}` has several {kind} records");
        mistakes.push(Diagnostic::new(second.place, what));
    }
    if set.rtype == SOA && *name != zone.apex {
        let what = format!("a SOA record stands at the apex, `{}`, alone", zone.apex);
        mistakes.push(Diagnostic::new(set.place, what));
    }
    if name.is_wildcard() && matches!(set.rtype, NS | DNAME) {
        let what = format!("a wildcard has no {kind} records (RFC 4592, 4)");
        mistakes.push(Diagnostic::new(set.place, what));
    }
    if set.policy.is_some() && ![A, AAAA].contains(&set.rtype) {
        let what = "a policy chooses among addresses: A or AAAA records";
        mistakes.push(Diagnostic::new(set.place, what));
    }
}

/// Below a delegation only addresses of servers are of use, and below a DNAME nothing.
fn hidden<'a>(
    zone: &Zone,
    name: &Name,
    cut: &[u8],
    sets: impl Iterator<Item = &'a RecordSet>,
    warnings: &mut Vec<Diagnostic>,
) {
    let delegated = zone.set(cut, NS).is_some() && *cut != *zone.apex;
    for set in sets {
        let visible = delegated
            && match **name == *cut {
                true => [NS, DS, RRSIG, NSEC, A, AAAA, ALIAS].contains(&set.rtype),
                false => [A, AAAA, ALIAS].contains(&set.rtype),
            };
        if !visible {
            let kind = rtype::name(set.rtype);
            let cut = Name::from(cut);
            let what =
                format!("nobody sees the {kind} records of `{name}`: `{cut}` takes over there");
            warnings.push(Diagnostic::new(set.place, what));
        }
    }
}

/// Servers need addresses, and names of their own.
fn targets(zone: &Zone, mistakes: &mut Vec<Diagnostic>, warnings: &mut Vec<Diagnostic>) {
    for (name, set) in zone.sets() {
        if set.rtype == DNAME
            && zone
                .names
                .keys()
                .any(|other| other != name && other.is_in(name))
        {
            let what = format!("names stand below the DNAME record of `{name}`");
            mistakes.push(Diagnostic::new(set.place, what).help("remove them: RFC 6672, 2.4"));
        }
        if ![NS, rtype::MX, rtype::SRV].contains(&set.rtype) {
            continue;
        }
        let kind = rtype::name(set.rtype);
        for (record, target) in set.targets() {
            let target = Name::from(&*target);
            if !target.is_in(&zone.apex) || *target == [0] {
                continue;
            }
            let place = record.place;
            if zone.set(&target, CNAME).is_some() {
                let what = format!(
                    "the {kind} record leads to `{target}`, which is an alias (RFC 2181, 10.3)"
                );
                warnings.push(Diagnostic::new(place, what));
            } else if !has_address(zone, &target) {
                // At another delegation the addresses are that zone's, unless it is its own.
                let foreign = zone.cut(&target).is_some_and(|cut| *cut != **name);
                if !foreign {
                    let what =
                        format!("`{target}`, to which the {kind} record leads, has no address");
                    warnings.push(Diagnostic::new(place, what));
                }
            }
        }
    }
}

/// Whether a name has an address, be it by a wildcard.
fn has_address(zone: &Zone, name: &Name) -> bool {
    let of = |name: &[u8]| {
        [A, AAAA, ALIAS]
            .iter()
            .any(|kind| zone.set(name, *kind).is_some())
    };
    let by_wildcard = |above: &[u8]| {
        let wildcard = Name::from(above).child(b"*");
        wildcard.is_some_and(|wildcard| of(&wildcard))
    };
    of(name) || suffixes(name).skip(1).any(by_wildcard)
}
