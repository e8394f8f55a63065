//! The records of a zone that are written in TOML.

use chassis::config::{Diagnostic, Located, Place};

use super::read::Collector;
use super::scan::{Item, ScannedItem, scan};
use super::{Name, soa};
use crate::config::{RecordConfig, ZoneConfig};
use crate::wire::rtype;

/// The types that are usual, to suggest one.
const USUAL: [&str; 18] = [
    "A", "AAAA", "ALIAS", "CAA", "CNAME", "DNAME", "DS", "HTTPS", "LOC", "MX", "NAPTR", "NS",
    "PTR", "SRV", "SSHFP", "SVCB", "TLSA", "TXT",
];

/// For how many seconds addresses of others may be kept at most, unless their record says it: they change without us.
const ALIAS_TTL: u32 = 60;

/// Reads the zone's SOA, name servers and records.
pub(super) fn read(config: &ZoneConfig, changed: u32, zone: &mut Collector<'_>) {
    let default_ttl = zone.keep(soa::seconds(&config.ttl)).unwrap_or(0);
    let before = zone.mistakes();
    for server in &config.ns {
        if zone.keep(soa::spelled(server)).is_none() {
            continue;
        }
        record(zone, "@", "NS", default_ttl, server, server.place());
    }
    if config.file.is_none() {
        // It names a server too: a mistake there is told once.
        match zone.mistakes() == before {
            true => own_soa(config, default_ttl, changed, zone),
            false => soa::text(&config.soa, "@", changed)
                .err()
                .into_iter()
                .flatten()
                .for_each(|mistake| zone.wrong(mistake)),
        }
    }
    for one in &config.record {
        let ttl = match &one.ttl {
            Some(ttl) => zone.keep(soa::seconds(ttl)).unwrap_or(0),
            None if one.r#type.eq_ignore_ascii_case("ALIAS") => default_ttl.min(ALIAS_TTL),
            None => default_ttl,
        };
        read_set(one, ttl, zone);
    }
}

fn own_soa(config: &ZoneConfig, ttl: u32, changed: u32, zone: &mut Collector<'_>) {
    let at_apex = |one: &&RecordConfig| one.r#type.eq_ignore_ascii_case("NS") && *one.name == "@";
    let elsewhere = config.record.iter().find(at_apex);
    let elsewhere = elsewhere.and_then(|one| one.values.first());
    let Some(first) = config.ns.first().or(elsewhere) else {
        let what = format!("the zone `{}` has no name server", *config.name);
        let help = "add `ns = [\"ns1.example.com.\"]`, or a `file` that has them";
        return zone.wrong(config.name.wrong(what).help(help));
    };
    let place = match config.soa.primary.as_ref().or(config.soa.contact.as_ref()) {
        Some(written) => written.place(),
        None => config.name.place(),
    };
    match soa::text(&config.soa, first, changed) {
        Ok(text) => {
            let value = Located::nowhere(text);
            record(zone, "@", "SOA", ttl, &value, place);
        }
        Err(mistakes) => mistakes.into_iter().for_each(|mistake| zone.wrong(mistake)),
    }
}

fn read_set(config: &RecordConfig, ttl: u32, zone: &mut Collector<'_>) {
    let kind = config.r#type.to_ascii_uppercase();
    let Some(number) = rtype::parse(&kind).filter(|number| !rtype::is_meta(*number)) else {
        let what = format!("`{}` is not a type of records", *config.r#type);
        return zone.wrong(config.r#type.wrong(what).suggest(&kind, USUAL));
    };
    if number == rtype::SOA {
        let what = "the SOA record is written as `soa = { ... }` of the zone";
        return zone.wrong(config.r#type.wrong(what));
    }
    let Some(owner) = owner(&config.name, zone) else {
        return;
    };
    match (&config.policy, config.values.is_empty()) {
        (None, true) => {
            let what = "a record needs `values`, or a `policy` that chooses them";
            zone.wrong(config.name.wrong(what));
        }
        (Some(policy), false) => {
            zone.wrong(policy.wrong("either `values` or a `policy`, not both"));
        }
        (Some(policy), true) => {
            zone.add_policy(owner, number, ttl, policy.clone(), config.name.place());
        }
        (None, false) => {
            for value in &config.values {
                record(zone, &config.name, &kind, ttl, value, value.place());
            }
        }
    }
}

/// Reads a name of this zone.
fn owner(name: &Located<String>, zone: &mut Collector<'_>) -> Option<Name> {
    zone.keep(soa::spelled(name))?;
    // Only to read its name: any data will do.
    let item = one_record(&format!("{} 0 IN TXT x\n", **name), &zone.apex);
    let owner = item.map(|item| item.owner);
    zone.keep(owner.map_err(|why| name.wrong(format!("not a name: {why}"))))
}

/// Reads one record as if it stood in a zone file.
fn record(
    zone: &mut Collector<'_>,
    owner: &str,
    kind: &str,
    ttl: u32,
    value: &Located<String>,
    place: Place,
) {
    let quoted = match kind {
        "TXT" | "SPF" if !value.trim_start().starts_with('"') => Some(quote(value)),
        _ => None,
    };
    let text = quoted.as_deref().unwrap_or(value);
    // Each of them would begin or end something that no value of one record has.
    if text.contains(['\n', '\r', '\0']) {
        return zone.wrong(Diagnostic::new(place, "a value is one line of text"));
    }
    match one_record(&format!("{owner} {ttl} IN {kind} {text}\n"), &zone.apex) {
        Ok(item) => zone.add(item, place),
        Err(why) => {
            let what = format!("not a record of type {kind}: {why}");
            zone.wrong(Diagnostic::new(place, what));
        }
    }
}

fn one_record(line: &str, origin: &Name) -> Result<ScannedItem, String> {
    let mut found = Vec::new();
    let scanned = scan(line.as_bytes(), origin, |_, item| found.push(item));
    scanned.map_err(|errors| {
        errors
            .into_iter()
            .next()
            .map_or_else(String::new, |error| error.message)
    })?;
    match (found.pop(), found.is_empty()) {
        (Some(Item::Record(item)), true) => Ok(item),
        _ => Err("exactly one record is expected".to_owned()),
    }
}

/// Text as strings of at most 255 octets (RFC 1035, 3.3).
fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    let mut length = 0;
    for byte in text.bytes() {
        if length == 255 {
            out += "\" \"";
            length = 0;
        }
        match byte {
            b'"' | b'\\' => out.extend(['\\', char::from(byte)]),
            b' '..=b'~' => out.push(char::from(byte)),
            other => out += &format!("\\{other:03}"),
        }
        length += 1;
    }
    out + "\""
}
