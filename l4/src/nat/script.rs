//! The way from what the table holds to what it is to hold, in the language of `nft`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use super::NatConfig;
use super::counters::Count;
use super::ruleset::{Chain, MAPS, Of, Ruleset, Slots, key};

/// A table, and the counter in it that says who has made it: a transaction that touches it fails when somebody else has.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) table: String,
    pub(super) mark: String,
}

impl Place {
    /// A place with a mark that no other process has.
    pub(super) fn of(config: &NatConfig) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(0, |now| now.as_nanos());
        Self {
            table: config.table.clone(),
            mark: format!("{MARK}{}-{now:x}", std::process::id()),
        }
    }

    /// Replaces whatever there is, and other tables. Counters begin with what they had.
    pub(super) fn whole<'a>(
        &self,
        next: &Ruleset,
        counts: &BTreeMap<String, Count>,
        others: impl IntoIterator<Item = &'a String>,
    ) -> String {
        let mut script = Script::of(&self.table);
        script.say("add table", "");
        script.say("delete table", "");
        script.say("add table", "");
        script.say("add counter", &self.mark);
        for (map, family, of) in MAPS {
            let address = family.address();
            let of = match of {
                Of::Services => format!("inet_proto . {address} . inet_service : verdict"),
                Of::Answers => {
                    format!("{address} . inet_service : {address} . inet_service")
                }
                Of::Flows => {
                    format!("{address} . inet_service . {address} . inet_service : counter")
                }
            };
            script.say("add map", &format!("{map} {{ type {of}; }}"));
        }
        script.change(&Ruleset::default(), next, counts);
        script.text + &nothing(others)
    }

    /// What differs; nothing when nothing does.
    pub(super) fn changes(&self, from: &Ruleset, to: &Ruleset) -> String {
        if from == to {
            return String::new();
        }
        let mut script = Script::of(&self.table);
        script.say("delete counter", &self.mark);
        script.say("add counter", &self.mark);
        script.change(from, to, &BTreeMap::new());
        script.text
    }
}

/// Removes tables, those that are there.
pub(super) fn nothing<'a>(tables: impl IntoIterator<Item = &'a String>) -> String {
    let removed = tables.into_iter().map(|table| {
        let mut script = Script::of(table);
        script.say("add table", "");
        script.say("delete table", "");
        script.text
    });
    removed.collect()
}

/// Whether a counter says who has made its table.
pub(super) fn is_mark(counter: &str) -> bool {
    counter.starts_with(MARK)
}

const MARK: &str = "made-by-";

/// Commands on one table.
struct Script<'a> {
    table: &'a str,
    text: String,
}

impl<'a> Script<'a> {
    fn of(table: &'a str) -> Self {
        let text = String::new();
        Self { table, text }
    }

    fn say(&mut self, command: &str, what: &str) {
        let _ = writeln!(self.text, "{command} inet {} {what}", self.table);
    }

    /// First what is new, then what leads to it, last what nothing leads to any more.
    fn change(&mut self, from: &Ruleset, to: &Ruleset, counts: &BTreeMap<String, Count>) {
        for counter in to.counters.difference(&from.counters) {
            let count = counts.get(counter).copied().unwrap_or_default();
            let Count { packets, bytes } = count;
            let begin = format!("{counter} {{ packets {packets} bytes {bytes}; }}");
            self.say("add counter", &begin);
        }
        for (name, slots) in &to.slots {
            self.slots(name, from.slots.get(name), slots);
        }
        for (name, chain) in &to.chains {
            let hook = chain
                .hook
                .map(|hook| format!("{{ type {hook}; policy accept; }}"));
            if !from.chains.contains_key(name) {
                self.say("add chain", &format!("{name} {}", hook.unwrap_or_default()));
            }
        }
        for (name, chain) in &to.chains {
            if from.chains.get(name) != Some(chain) {
                self.chain(name, chain);
            }
        }
        self.elements(from, to);
        let gone = |name: &&String| !to.chains.contains_key(*name);
        let chains: Vec<_> = from.chains.keys().filter(gone).collect();
        for name in &chains {
            self.say("flush chain", name);
        }
        for name in &chains {
            self.say("delete chain", name);
        }
        for name in from
            .slots
            .keys()
            .filter(|name| !to.slots.contains_key(*name))
        {
            self.say("delete map", name);
        }
        for counter in from.counters.difference(&to.counters) {
            self.say("delete counter", counter);
        }
    }

    fn chain(&mut self, name: &str, chain: &Chain) {
        self.say("flush chain", name);
        for rule in &chain.rules {
            self.say("add rule", &format!("{name} {rule}"));
        }
    }

    fn slots(&mut self, name: &str, from: Option<&Slots>, to: &Slots) {
        if from.is_none() {
            // There is no type for what jhash gives; the length of a packet is a number of the same kind. And nft judges
            // the port by the rule that looks it up: it must be one of the same transport.
            let (ip, transport) = (to.family.word(), to.transport);
            let of = format!("{name} {{ typeof meta length : {ip} daddr . {transport} dport; }}");
            self.say("add map", &of);
        }
        let (mut gone, mut new) = (Vec::new(), Vec::new());
        for (slot, endpoint) in to.endpoints.iter().enumerate() {
            let before = from.and_then(|from| from.endpoints.get(slot).copied().flatten());
            if before == *endpoint {
                continue;
            }
            if before.is_some() {
                gone.push(slot.to_string());
            }
            if let Some(endpoint) = endpoint {
                new.push(format!("{slot} : {}", key(*endpoint)));
            }
        }
        for (command, elements) in [("delete element", gone), ("add element", new)] {
            if !elements.is_empty() {
                self.say(command, &format!("{name} {{ {} }}", elements.join(", ")));
            }
        }
    }

    fn elements(&mut self, from: &Ruleset, to: &Ruleset) {
        for (place, value) in &from.elements {
            if to.elements.get(place) != Some(value) {
                self.say("delete element", &format!("{} {{ {} }}", place.0, place.1));
            }
        }
        for (place, value) in &to.elements {
            if from.elements.get(place) != Some(value) {
                self.say(
                    "add element",
                    &format!("{} {{ {} : {value} }}", place.0, place.1),
                );
            }
        }
    }
}
