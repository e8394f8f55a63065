//! Zones to a [`Snapshot`].

use std::sync::Arc;

use chassis::config::Diagnostic;
use rustc_hash::FxHashMap;

use super::bytes::Answer;
use super::choose::Choose;
use super::message::{Asked, Message, Section};
use super::names::NameTable;
use super::sets::{Chain, End, Tree, Within, add, tree};
use super::snapshot::{Below, Dynamic, Given, Kind, NONE, Node, Served, Snapshot};
use crate::wire::{rcode, rtype};
use crate::zone::{Name, Record, RecordSet, Zone, parent, suffixes};

/// Compiles every answer that the zones hold.
///
/// # Errors
/// Policies that are not known, and sets that are longer than a message.
pub fn compile(zones: &[Zone], chooser: Arc<dyn Choose>) -> Result<Snapshot, Vec<Diagnostic>> {
    let tree = tree(zones);
    let mut names: Vec<&Name> = tree.keys().collect();
    // In an order that does not depend on hashes.
    names.sort_unstable();
    let mut compiler = Compiler {
        zones,
        tree: &tree,
        chooser: &*chooser,
        served: Vec::new(),
        kinds: Vec::new(),
        answers: Vec::new(),
        dynamics: Vec::new(),
        referrals: FxHashMap::default(),
        mistakes: Vec::new(),
    };
    compiler.serve();
    let table = NameTable::new(names.iter().map(|name| &***name));
    let nodes = names.iter().map(|name| {
        let mut node = compiler.node(name);
        let wildcard = name.child(b"*").and_then(|wildcard| table.get(&wildcard));
        node.wildcard = wildcard
            .filter(|_| node.below == Below::Nothing)
            .unwrap_or(NONE);
        node
    });
    let nodes = nodes.collect();
    let Compiler {
        served,
        kinds,
        answers,
        dynamics,
        mistakes,
        ..
    } = compiler;
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    Ok(Snapshot {
        names: table,
        nodes,
        kinds,
        answers,
        dynamics,
        zones: served,
        chooser,
    })
}

struct Compiler<'a> {
    zones: &'a [Zone],
    tree: &'a Tree,
    chooser: &'a dyn Choose,
    served: Vec<Served>,
    kinds: Vec<Kind>,
    answers: Vec<Answer>,
    dynamics: Vec<Dynamic>,
    /// The answer for all that a delegation takes over, by its name.
    referrals: FxHashMap<Name, u32>,
    mistakes: Vec<Diagnostic>,
}

/// Where a set's answer is used: the name that it is built for, and the aliases that lead to its owner.
struct Route<'a> {
    base: &'a Name,
    asked: Asked,
    chain: &'a Chain<'a>,
}

impl<'a> Compiler<'a> {
    fn within(&self, number: usize) -> Within<'a> {
        Within {
            zone: &self.zones[number],
            number,
            tree: self.tree,
        }
    }

    /// What the names of a zone share.
    fn serve(&mut self) {
        for (number, zone) in self.zones.iter().enumerate() {
            // Its records have not come: there is no answer.
            if zone.names.is_empty() {
                self.served.push(Served {
                    apex: zone.apex.clone(),
                    nxdomain: NONE,
                    nodata: NONE,
                });
                continue;
            }
            let mut negative = |code| {
                let mut message = Message::new(&zone.apex, Asked::Below);
                self.within(number).nothing(&mut message);
                self.keep(message, code, true, zone)
            };
            let nxdomain = negative(rcode::NXDOMAIN);
            let nodata = negative(rcode::NOERROR);
            self.served.push(Served {
                apex: zone.apex.clone(),
                nxdomain,
                nodata,
            });
        }
    }

    /// The number of a finished answer.
    fn keep(&mut self, message: Message<'_>, code: u16, authoritative: bool, zone: &Zone) -> u32 {
        match message.finish(code, authoritative) {
            Some(answer) => self.answers.push(answer),
            None => {
                let what = format!(
                    "a set of records of `{}` is longer than a message",
                    zone.apex
                );
                self.mistakes.push(Diagnostic::new(zone.place, what));
            }
        }
        self.answers.len().saturating_sub(1) as u32
    }

    fn node(&mut self, name: &Name) -> Node {
        let Some(number) = self.tree[name] else {
            return Node::NOT_OURS;
        };
        let zone = &self.zones[number];
        if zone.names.is_empty() {
            return Node {
                zone: number as u32,
                ..Node::NOT_OURS
            };
        }
        let mut node = match zone.cut(name) {
            Some(cut) => self.delegated(number, name, cut),
            None => self.authoritative(number, name),
        };
        if *name == zone.apex
            && let Some(above) = parent(name)
            && let Some(Some(over)) = suffixes(above).find_map(|name| self.tree.get(name))
        {
            node.delegation = self.delegation_of(*over, name);
        }
        node
    }

    /// What the parent zone says of the DS records of a zone that is served too.
    fn delegation_of(&mut self, over: usize, name: &Name) -> Given {
        match self.zones[over].set(name, rtype::DS) {
            Some(set) => {
                let route = Route {
                    base: name,
                    asked: Asked::Same,
                    chain: &NO_CHAIN,
                };
                self.set(over, &route, name, set)
            }
            None => Given::fixed(self.served[over].nodata),
        }
    }

    /// A name at or below a delegation.
    fn delegated(&mut self, number: usize, name: &Name, cut: &[u8]) -> Node {
        let zone = &self.zones[number];
        let referral = match self.referrals.get(cut) {
            Some(referral) => *referral,
            None => {
                let mut message = Message::new(cut, Asked::Below);
                self.within(number).referral(cut, &mut message);
                let referral = self.keep(message, rcode::NOERROR, false, zone);
                self.referrals.insert(Name::from(cut), referral);
                referral
            }
        };
        let mut kinds = Vec::new();
        if **name == *cut {
            // The parent's own (RFC 4035, 3.1.4.1).
            let given = match zone.set(cut, rtype::DS) {
                Some(_) => self.delegation_of(number, name),
                None => Given::fixed(self.served[number].nodata),
            };
            let rtype = rtype::DS;
            kinds.push(Kind { rtype, given });
        }
        Node {
            zone: number as u32,
            below: Below::Delegated,
            other: Given::fixed(referral),
            any: Given::fixed(referral),
            ..self.node_from(&kinds)
        }
    }

    fn authoritative(&mut self, number: usize, name: &Name) -> Node {
        let within = self.within(number);
        let zone = within.zone;
        let asked = match name.is_wildcard() {
            true => Asked::Wildcard,
            false => Asked::Same,
        };
        let (chain, end) = within.chain(name);
        let route = Route {
            base: name,
            asked,
            chain: &chain,
        };
        let mut kinds = Vec::new();
        if let Some((_, alias)) = chain.first() {
            let own = Route {
                chain: &NO_CHAIN,
                ..route
            };
            let given = self.set(number, &own, name, alias);
            kinds.push(Kind {
                rtype: rtype::CNAME,
                given,
            });
        }
        if let End::At(owner, records) = &end {
            for set in zone
                .names
                .get(records)
                .into_iter()
                .flat_map(|sets| sets.values())
            {
                let given = self.set(number, &route, owner, set);
                let rtype = set.rtype;
                kinds.push(Kind { rtype, given });
            }
        }
        let nodata = Given::fixed(self.served[number].nodata);
        let other = match chain.is_empty() {
            true => nodata,
            false => Given::fixed(self.end_of_chain(number, &route, &end)),
        };
        // ANY is answered with one of the sets (RFC 8482, 4.1).
        let any = kinds.first().map_or(nodata, |kind| kind.given);
        let below = match zone.set(name, rtype::DNAME) {
            Some(set) => Below::Dname(self.dname(number, name, set)),
            None => Below::Nothing,
        };
        Node {
            zone: number as u32,
            below,
            other,
            any,
            ..self.node_from(&kinds)
        }
    }

    /// A chain of aliases that leads to nothing of the type that is asked for.
    fn end_of_chain(&mut self, number: usize, route: &Route<'_>, end: &End) -> u32 {
        let within = self.within(number);
        let mut message = route.message();
        let mut code = rcode::NOERROR;
        match end {
            End::Outside | End::Moved(..) => {}
            End::Delegated(cut) => within.referral(cut, &mut message),
            End::At(..) => within.nothing(&mut message),
            End::Nowhere => {
                // It is about the last name (RFC 6604, 3).
                code = rcode::NXDOMAIN;
                within.nothing(&mut message);
            }
        }
        self.keep(message, code, true, within.zone)
    }

    /// The answer with the records of a set, or those that its policy may choose.
    fn set(&mut self, number: usize, route: &Route<'_>, owner: &Name, set: &RecordSet) -> Given {
        let zone = &self.zones[number];
        let Some(policy) = &set.policy else {
            // Nobody knows its records now.
            if set.records.is_empty() {
                return Given::UNKNOWN;
            }
            return Given::fixed(self.records(number, route, owner, set));
        };
        let Some(id) = self.chooser.policy(policy) else {
            let names = self.chooser.names();
            let what = format!("there is no policy `{}`", **policy);
            let mistake = policy
                .wrong(what)
                .suggest(policy, names.iter().map(String::as_str));
            if !self.mistakes.contains(&mistake) {
                self.mistakes.push(mistake);
            }
            return Given::fixed(0);
        };
        let first = self.answers.len() as u32;
        let variants = self.chooser.variants(id, set.rtype);
        let count = variants.len() as u32;
        for variant in variants {
            if variant.is_empty() {
                let mut message = route.message();
                self.within(number).nothing(&mut message);
                self.keep(message, rcode::NOERROR, true, zone);
                continue;
            }
            let place = set.place;
            let records = variant.into_iter().map(|data| Record { data, place });
            let chosen = RecordSet {
                records: records.collect(),
                policy: None,
                ..set.clone()
            };
            self.records(number, route, owner, &chosen);
        }
        self.dynamics.push(Dynamic {
            policy: id,
            rtype: set.rtype,
            first,
            count,
        });
        Given::dynamic(self.dynamics.len() as u32 - 1)
    }

    fn records(&mut self, number: usize, route: &Route<'_>, owner: &Name, set: &RecordSet) -> u32 {
        let within = self.within(number);
        let mut message = route.message();
        add(&mut message, Section::Answer, owner, set);
        within.additional(owner, set, &mut message);
        self.keep(message, rcode::NOERROR, true, within.zone)
    }

    fn dname(&mut self, number: usize, name: &Name, set: &RecordSet) -> u32 {
        let mut message = Message::new(name, Asked::Below);
        add(&mut message, Section::Answer, name, set);
        self.keep(message, rcode::NOERROR, true, &self.zones[number])
    }

    fn node_from(&mut self, kinds: &[Kind]) -> Node {
        let mut first = Node::NOT_OURS.first;
        let (here, more) = kinds.split_at(kinds.len().min(first.len()));
        first[..here.len()].copy_from_slice(here);
        let start = self.kinds.len();
        self.kinds.extend_from_slice(more);
        Node {
            first,
            kinds: start as u32,
            count: more.len() as u16,
            ..Node::NOT_OURS
        }
    }
}

const NO_CHAIN: Chain<'static> = Chain::new();

impl Node {
    const NOT_OURS: Self = Self {
        zone: NONE,
        first: [Kind::NONE; 2],
        kinds: 0,
        count: 0,
        below: Below::Nothing,
        other: Given::NOTHING,
        any: Given::NOTHING,
        wildcard: NONE,
        delegation: Given::NOTHING,
    };
}

impl<'a> Route<'a> {
    /// A message that begins with the aliases.
    fn message(&self) -> Message<'a> {
        let mut message = Message::new(self.base, self.asked);
        for (owner, alias) in self.chain {
            add(&mut message, Section::Answer, owner, alias);
        }
        message
    }
}
