//! Reads the zones of a configuration.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use chassis::config::{Diagnostic, Located, Place, Sources};

use super::scan::ScannedItem;
use super::{Name, Record, RecordSet, Sets, Zone, check, file, soa, table};
use crate::config::ZoneConfig;

/// The zones that could be read.
#[derive(Debug, Default)]
pub struct Read {
    /// Those without a mistake.
    pub zones: Vec<Arc<Zone>>,
    /// What is wrong; then nothing of it may serve.
    pub mistakes: Vec<Diagnostic>,
    /// What is sound, but probably not meant.
    pub warnings: Vec<Diagnostic>,
}

/// Reads and judges zones. The files that they name become sources too.
pub fn read(configs: &[ZoneConfig], sources: &mut Sources) -> Read {
    let changed = last_change(sources);
    let mut read = Read::default();
    for config in configs {
        let Some(apex) = apex(&config.name, &mut read.mistakes) else {
            continue;
        };
        if let Some(other) = read.zones.iter().find(|zone| zone.apex == apex) {
            let first = sources.locate(other.place);
            let what = format!("the zone `{apex}` is there twice");
            let mistake = config.name.wrong(what).help(format!("first at {first}"));
            read.mistakes.push(mistake);
            continue;
        }
        if !config.primary.is_empty() {
            read.zones.push(Arc::new(Zone {
                apex,
                place: config.name.place(),
                names: BTreeMap::new(),
            }));
            continue;
        }
        let mistakes = read.mistakes.len();
        let mut collector = Collector {
            apex,
            names: BTreeMap::new(),
            sources,
            read: &mut read,
        };
        if let Some(path) = &config.file {
            let place = path.place();
            file::read(
                &collector.sources.resolve(path, place),
                place,
                &mut collector,
            );
        }
        table::read(config, changed, &mut collector);
        let zone = Zone {
            apex: collector.apex,
            place: config.name.place(),
            names: collector.names,
        };
        // Of what could not be read, much is missing.
        if read.mistakes.len() == mistakes {
            check::judge(&zone, &mut read);
            check::judge_delegations(&zone, &mut read.mistakes);
        }
        read.zones.push(Arc::new(zone));
    }
    read
}

/// Judges a zone that another server has sent.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn judge_received(zone: Zone) -> Result<Zone, String> {
    let mut read = Read::default();
    check::judge(&zone, &mut read);
    let mistakes = read.mistakes.into_iter().map(|mistake| mistake.message);
    let mistakes: Vec<String> = mistakes.take(MOST_TOLD).collect();
    match mistakes.is_empty() {
        true => Ok(zone),
        false => Err(mistakes.join("; ")),
    }
}

/// Mistakes of a zone that are told at a time.
const MOST_TOLD: usize = 3;

/// When the configuration was changed last, as a serial: seconds since 1970.
fn last_change(sources: &Sources) -> u32 {
    let times = sources
        .paths()
        .filter_map(|path| path.metadata().ok()?.modified().ok());
    let since = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).ok();
    let seconds = times.filter_map(since).map(|since| since.as_secs()).max();
    // Serials wrap around (RFC 1982).
    seconds.unwrap_or(1) as u32
}

fn apex(name: &Located<String>, mistakes: &mut Vec<Diagnostic>) -> Option<Name> {
    let judged = soa::spelled(name);
    let apex = judged.is_ok().then(|| Name::from_text(name)).flatten();
    if apex.is_none() {
        let not_one = || name.wrong(format!("`{}` is not a name", **name));
        mistakes.push(judged.err().unwrap_or_else(not_one));
    }
    apex
}

/// Collects the records of one zone.
pub(super) struct Collector<'a> {
    pub(super) apex: Name,
    names: BTreeMap<Name, Sets>,
    pub(super) sources: &'a mut Sources,
    read: &'a mut Read,
}

impl Collector<'_> {
    /// A mistake.
    pub(super) fn wrong(&mut self, mistake: Diagnostic) {
        self.read.mistakes.push(mistake);
    }

    /// How many there are.
    pub(super) fn mistakes(&self) -> usize {
        self.read.mistakes.len()
    }

    /// What was understood; else the mistake is kept.
    pub(super) fn keep<T>(&mut self, outcome: Result<T, Diagnostic>) -> Option<T> {
        outcome.map_err(|mistake| self.wrong(mistake)).ok()
    }

    /// Adds a record to its set.
    pub(super) fn add(&mut self, item: ScannedItem, place: Place) {
        let ScannedItem {
            owner,
            rtype,
            ttl,
            data,
        } = item;
        let kind = crate::wire::rtype::name(rtype);
        if !self.is_inside(&owner, place) {
            return;
        }
        if i32::try_from(ttl).is_err() {
            let what = format!("a TTL is at most {} seconds (RFC 2181, 8)", i32::MAX);
            return self.wrong(Diagnostic::new(place, what));
        }
        let shown = owner.to_string();
        let set = self.set(owner, rtype, ttl, place);
        if set.policy.is_some() {
            let what = format!("a policy chooses the {kind} records of `{shown}`");
            return self.wrong(Diagnostic::new(place, what));
        }
        let twice = set.records.iter().any(|record| record.data == data);
        let (before, least) = (set.ttl, set.ttl.min(ttl));
        set.ttl = least;
        if !twice {
            set.add(Record { data, place });
        }
        // RFC 2181, 5 and 5.2.
        if twice {
            let what = format!("`{shown}` has this {kind} record already");
            self.read.warnings.push(Diagnostic::new(place, what));
        }
        if before != ttl {
            let what =
                format!("the {kind} records of `{shown}` have several TTLs: {least} s serves");
            self.read.warnings.push(Diagnostic::new(place, what));
        }
    }

    /// Adds a set whose records a policy chooses.
    pub(super) fn add_policy(
        &mut self,
        owner: Name,
        rtype: u16,
        ttl: u32,
        policy: Located<String>,
        place: Place,
    ) {
        if !self.is_inside(&owner, place) {
            return;
        }
        let kind = crate::wire::rtype::name(rtype);
        let shown = owner.to_string();
        let set = self.set(owner, rtype, ttl, place);
        let free = set.records.is_empty() && set.policy.is_none();
        set.policy = Some(Box::new(policy));
        if !free {
            let what = format!("`{shown}` has {kind} records already");
            self.wrong(Diagnostic::new(place, what));
        }
    }

    fn is_inside(&mut self, owner: &Name, place: Place) -> bool {
        let inside = owner.is_in(&self.apex);
        if !inside {
            let what = format!("`{owner}` is not in the zone `{}`", self.apex);
            let help = "a name without a dot at its end is relative to the zone";
            self.wrong(Diagnostic::new(place, what).help(help));
        }
        inside
    }

    fn set(&mut self, owner: Name, rtype: u16, ttl: u32, place: Place) -> &mut RecordSet {
        let sets = self.names.entry(owner).or_default();
        sets.of_or(rtype, || RecordSet {
            rtype,
            ttl,
            place,
            records: Vec::new(),
            policy: None,
        })
    }
}
