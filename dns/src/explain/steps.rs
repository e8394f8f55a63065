//! The steps from a name to where it leads, in words.

use super::live::Live;
use crate::alias::{End, Step, Way};
use crate::wire::rtype::{self, A, AAAA, ALIAS};
use crate::zone::Name;

/// A step.
pub(super) fn in_words(step: &Step) -> String {
    match step {
        Step::Wildcard(wildcard, name) => format!("leads to  {name}, for which {wildcard} stands"),
        Step::Alias(rtype, from, to) => {
            format!(
                "leads to  {to}, by the {} record of {from}",
                rtype::name(*rtype)
            )
        }
        Step::Moved(owner, _, to) => format!("leads to  {to}, by the DNAME record of {owner}"),
    }
}

/// The name of others whose addresses are asked for, if an answer of this type needs them.
pub(super) fn asked<'a>(way: &'a Way<'_>, kind: u16) -> Option<&'a Name> {
    let by_alias = |step: &Step| matches!(step, Step::Alias(ALIAS, ..));
    match &way.end {
        End::Outside(name) if [A, AAAA].contains(&kind) && way.steps.iter().any(by_alias) => {
            Some(name)
        }
        _ => None,
    }
}

/// What is known of a name of others.
pub(super) fn known(target: &Name, live: &Live) -> Vec<String> {
    let from = &live.from;
    let Some(known) = &live.known else {
        return vec![format!(
            "asked     nobody answers at {from}, so nobody knows: SERVFAIL"
        )];
    };
    let shown = target.to_string();
    let reports = known.aliases.iter().filter(|report| report.name == shown);
    let mut lines: Vec<String> = reports
        .map(|report| {
            let kind = &report.r#type;
            let what = match &report.addresses {
                None => "not known: SERVFAIL".to_owned(),
                Some(none) if none.is_empty() => "none".to_owned(),
                Some(some) => {
                    let some: Vec<String> = some.iter().map(ToString::to_string).collect();
                    some.join(", ")
                }
            };
            let age = report.age.map(|age| format!(", answered {age} s ago"));
            let why = report
                .why
                .as_ref()
                .map(|why| format!(", now it fails: {why}"));
            let (age, why) = (age.unwrap_or_default(), why.unwrap_or_default());
            format!("          {kind}: {what}{age}{why}")
        })
        .collect();
    let head = match lines.is_empty() {
        true => format!("asked     {from} does not ask for {shown}: is this its configuration?"),
        false => format!("asked     for {shown}, as {from} knows it"),
    };
    lines.insert(0, head);
    lines
}

/// Where it ends, when that needs to be said.
pub(super) fn end(way: &Way<'_>) -> Option<String> {
    let last = way.steps.iter().rev().find_map(|step| match step {
        Step::Alias(_, _, to) | Step::Moved(_, _, to) => Some(to),
        Step::Wildcard(..) => None,
    })?;
    match &way.end {
        End::Here(_) | End::Unknown => None,
        End::Outside(name) => Some(format!("end       {name} is not in a zone of this server")),
        End::Nowhere => Some(format!("end       {last} is not there")),
        End::Circle => Some(format!(
            "end       it goes in a circle, or too far: not followed beyond {last}"
        )),
    }
}
