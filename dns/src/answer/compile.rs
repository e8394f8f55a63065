//! Zones to a [`Snapshot`].

use std::borrow::Cow;
use std::sync::Arc;

use chassis::config::Diagnostic;
use rustc_hash::FxHashMap;

use super::bytes::Answer;
use super::choose::Choose;
use super::message::{Asked, Message, Section};
use super::names::NameTable;
use super::sets::{Chain, End, Tree, Within, add, add_unsigned, tree};
use super::signed::{self, Both, Denied, OfAsked, Pair};
use super::snapshot::{Below, Dynamic, Given, Kind, NONE, Node, Served, Snapshot};
use crate::dnssec::{Signers, ZoneSigner};
use crate::wire::{rcode, rtype};
use crate::zone::{Name, Record, RecordSet, Zone, parent, suffixes};

/// Compiles every answer that the zones hold.
///
/// # Errors
/// Policies that are not known, and sets that are longer than a message.
pub fn compile(zones: &[Arc<Zone>], chooser: Arc<dyn Choose>) -> Result<Snapshot, Vec<Diagnostic>> {
    compile_signed(zones, &Signers::default(), chooser)
}

/// Compiles every answer that the zones hold, those of signed zones also with signatures.
///
/// # Errors
/// Policies that are not known, sets that are longer than a message, and when signing fails.
pub fn compile_signed(
    zones: &[Arc<Zone>],
    signers: &Signers,
    chooser: Arc<dyn Choose>,
) -> Result<Snapshot, Vec<Diagnostic>> {
    let tree = tree(zones);
    let mut names: Vec<&Name> = tree.keys().collect();
    // In an order that does not depend on hashes.
    names.sort_unstable();
    let mut compiler = Compiler {
        zones,
        signers,
        tree: &tree,
        chooser: &*chooser,
        served: Vec::new(),
        kinds: Vec::new(),
        answers: Vec::new(),
        pairs: Vec::new(),
        signed: Vec::new(),
        of_asked: Vec::new(),
        dynamics: Vec::new(),
        referrals: FxHashMap::default(),
        mistakes: Vec::new(),
    };
    compiler.prepare();
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
        pairs,
        signed,
        of_asked,
        dynamics,
        mut mistakes,
        ..
    } = compiler;
    mistakes.extend(signers.failures(zones));
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    let mut snapshot = Snapshot {
        names: table,
        nodes,
        kinds,
        answers,
        pairs,
        signed,
        of_asked,
        dynamics,
        zones: served,
        chooser,
    };
    snapshot.fit();
    Ok(snapshot)
}

struct Compiler<'a> {
    zones: &'a [Arc<Zone>],
    signers: &'a Signers,
    tree: &'a Tree,
    chooser: &'a dyn Choose,
    served: Vec<Served>,
    kinds: Vec<Kind>,
    answers: Vec<Answer>,
    pairs: Vec<Pair>,
    signed: Vec<Answer>,
    of_asked: Vec<OfAsked>,
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

    fn signer(&self, number: usize) -> Option<&'a ZoneSigner> {
        self.signers.of(number)
    }

    /// Signs what can be signed ahead, on all cores.
    fn prepare(&self) {
        for number in 0..self.zones.len() {
            if let Some(signer) = self.signer(number) {
                signed::prepare(self.within(number), signer, self.chooser);
            }
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
                    online: None,
                });
                continue;
            }
            let (within, signer) = (self.within(number), self.signer(number));
            let mut negative = |code| {
                let both = Both::build(signer, |signer| {
                    let mut message = Message::new(&zone.apex, Asked::Below, signer);
                    within.nothing(&Denied::Asked, &mut message);
                    message
                });
                self.keep(both, code, true, zone)
            };
            let nxdomain = negative(rcode::NXDOMAIN);
            let nodata = negative(rcode::NOERROR);
            let ttl = within.negative_ttl();
            self.served.push(Served {
                apex: zone.apex.clone(),
                nxdomain,
                nodata,
                online: signer.and_then(|signer| self.signers.online(signer, ttl)),
            });
        }
    }

    /// The number of a finished answer.
    fn keep(&mut self, both: Both<'_>, code: u16, authoritative: bool, zone: &Zone) -> u32 {
        let number = self.answers.len() as u32;
        let Both { plain, signed } = both;
        let plain = plain.finish(code, authoritative);
        let signed = signed.map(|mut message| {
            let of_asked = std::mem::take(&mut message.of_asked);
            (message.finish(code, authoritative), of_asked)
        });
        let (Some(plain), true) = (plain, !matches!(signed, Some((None, _)))) else {
            let what = format!(
                "a set of records of `{}` is longer than a message",
                zone.apex
            );
            self.mistakes.push(Diagnostic::new(zone.place, what));
            return 0;
        };
        self.answers.push(plain);
        if let Some((Some(answer), of_asked)) = signed {
            let mut pair = Pair::NONE;
            pair.answer = self.signed.len() as u32;
            self.signed.push(answer);
            if !of_asked.is_empty() {
                pair.of_asked = self.of_asked.len() as u32;
                self.of_asked.push(of_asked);
            }
            self.pairs.resize(number as usize, Pair::NONE);
            self.pairs.push(pair);
        }
        number
    }

    /// The answer for the types that a name does not have.
    fn nodata(
        &mut self,
        number: usize,
        base: &'a Name,
        asked: Asked,
        denied: impl FnOnce(Within<'a>) -> Denied,
    ) -> Given {
        let Some(signer) = self.signer(number) else {
            return Given::fixed(self.served[number].nodata);
        };
        let within = self.within(number);
        let denied = denied(within);
        let both = Both::build(Some(signer), |signer| {
            let mut message = Message::new(base, asked, signer);
            within.nothing(&denied, &mut message);
            message
        });
        Given::fixed(self.keep(both, rcode::NOERROR, true, within.zone))
    }

    fn node(&mut self, name: &'a Name) -> Node {
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
    fn delegation_of(&mut self, over: usize, name: &'a Name) -> Given {
        match self.zones[over].set(name, rtype::DS) {
            Some(set) => {
                let route = Route {
                    base: name,
                    asked: Asked::Same,
                    chain: &NO_CHAIN,
                };
                self.set(over, &route, [name; 2], set)
            }
            None => self.nodata(over, name, Asked::Same, |within| within.no_ds(name)),
        }
    }

    /// A name at or below a delegation.
    fn delegated(&mut self, number: usize, name: &'a Name, cut: &'a [u8]) -> Node {
        let (within, signer) = (self.within(number), self.signer(number));
        let zone = within.zone;
        let referral = match self.referrals.get(cut) {
            Some(referral) => *referral,
            None => {
                let both = Both::build(signer, |signer| {
                    let mut message = Message::new(cut, Asked::Below, signer);
                    within.referral(cut, &mut message);
                    message
                });
                let referral = self.keep(both, rcode::NOERROR, false, zone);
                self.referrals.insert(Name::from(cut), referral);
                referral
            }
        };
        let mut kinds = Vec::new();
        if **name == *cut {
            // The parent's own (RFC 4035, 3.1.4.1).
            let given = self.delegation_of(number, name);
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

    fn authoritative(&mut self, number: usize, name: &'a Name) -> Node {
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
            let given = self.set(number, &own, [name; 2], alias);
            kinds.push(Kind {
                rtype: rtype::CNAME,
                given,
            });
        }
        if let End::At(owner, records) = &end {
            for set in zone.names.get(records).into_iter().flatten() {
                let given = self.set(number, &route, [owner, records], set);
                let rtype = set.rtype;
                kinds.push(Kind { rtype, given });
            }
        }
        let other = match chain.is_empty() {
            true => self.nodata(number, name, asked, |within| {
                Denied::Types(name.clone(), within.types(name))
            }),
            false => Given::fixed(self.end_of_chain(number, &route, &end)),
        };
        // ANY is answered with one of the sets (RFC 8482, 4.1).
        let any = kinds.first().map_or(other, |kind| kind.given);
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
        let both = Both::build(self.signer(number), |signer| {
            let mut message = route.message(signer);
            match end {
                End::Outside | End::Moved(..) => {}
                End::Delegated(cut) => within.referral(cut, &mut message),
                End::At(owner, records) => {
                    let denied = Denied::Types(owner.clone(), within.types(records));
                    within.nothing(&denied, &mut message);
                }
                End::Nowhere(name) => within.nothing(&Denied::Name(name.clone()), &mut message),
            }
            message
        });
        // It is about the last name (RFC 6604, 3).
        let code = match end {
            End::Nowhere(_) => rcode::NXDOMAIN,
            _ => rcode::NOERROR,
        };
        self.keep(both, code, true, within.zone)
    }

    /// The answer with the records of a set, or those that its policy may choose. They are the second name's, which is
    /// another for a wildcard.
    fn set(
        &mut self,
        number: usize,
        route: &Route<'_>,
        [owner, records]: [&Name; 2],
        set: &RecordSet,
    ) -> Given {
        let Some(policy) = &set.policy else {
            // Nobody knows its records now.
            if set.records.is_empty() {
                return Given::UNKNOWN;
            }
            return Given::fixed(self.records(number, route, owner, set));
        };
        let Some(id) = self.chooser.policy(policy) else {
            let names = self.chooser.names();
            let what = format!("there is no policy `{}`", ***policy);
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
                self.empty(number, route, [owner, records], set.rtype);
                continue;
            }
            let place = set.place;
            let records = variant.into_iter().map(|data| Record {
                data: data.into(),
                place,
            });
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

    /// A policy's answer without records of a type that others get.
    fn empty(
        &mut self,
        number: usize,
        route: &Route<'_>,
        [owner, records]: [&Name; 2],
        rtype: u16,
    ) {
        let within = self.within(number);
        let mut types = within.types(records);
        types.retain(|kind| *kind != rtype);
        let denied = Denied::Types(owner.clone(), types);
        let both = Both::build(self.signer(number), |signer| {
            let mut message = route.message(signer);
            within.nothing(&denied, &mut message);
            message
        });
        self.keep(both, rcode::NOERROR, true, within.zone);
    }

    fn records(&mut self, number: usize, route: &Route<'_>, owner: &Name, set: &RecordSet) -> u32 {
        let within = self.within(number);
        let both = Both::build(self.signer(number), |signer| {
            let mut message = route.message(signer);
            add(&mut message, Section::Answer, owner, set);
            within.additional(owner, set, &mut message);
            message
        });
        self.keep(both, rcode::NOERROR, true, within.zone)
    }

    fn dname(&mut self, number: usize, name: &Name, set: &RecordSet) -> u32 {
        let both = Both::build(self.signer(number), |signer| {
            let mut message = Message::new(name, Asked::Below, signer);
            add(&mut message, Section::Answer, name, set);
            message
        });
        self.keep(both, rcode::NOERROR, true, &self.zones[number])
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
    fn message<'m>(&self, signer: Option<&'m ZoneSigner>) -> Message<'m>
    where
        'a: 'm,
    {
        let mut message = Message::new(self.base, self.asked, signer);
        for (owner, alias) in self.chain {
            match alias {
                Cow::Borrowed(alias) => add(&mut message, Section::Answer, owner, alias),
                // What a DNAME record makes follows from it, and is not signed (RFC 6672, 5.3.1).
                Cow::Owned(made) => add_unsigned(&mut message, Section::Answer, owner, made),
            }
        }
        message
    }
}
