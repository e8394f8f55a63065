//! Queries that came together: read one by one, then looked up side by side.
//!
//! A look-up waits for memory again and again, and each time for what the last one told: the slot of the name's
//! hash, the name with its node, the answer. Where all queries of a batch take a step before any takes the next, they wait
//! at the same time.

use std::hint::black_box;
use std::net::IpAddr;

use super::names::Probe;
use super::respond::{Asked, Limits, Responded};
use super::snapshot::{Given, Snapshot};
use crate::wire::{Parsed, QueryName, parse};

/// A query of a batch. Made once, filled again for each query.
#[derive(Debug)]
pub struct Pending {
    name: QueryName,
    parsed: Parsed,
    probe: Probe,
    /// The number of its name, where there is such a name.
    exact: Option<u32>,
}

/// A batch that was looked up.
#[derive(Debug)]
pub struct LookedUp<'a> {
    snapshot: &'a Snapshot,
    batch: &'a [Pending],
}

impl Default for Pending {
    fn default() -> Self {
        Self {
            name: QueryName::default(),
            parsed: Parsed::Silence,
            probe: Probe::default(),
            exact: None,
        }
    }
}

impl Pending {
    /// Reads a packet.
    pub fn read(&mut self, packet: &[u8]) {
        self.parsed = parse(packet, &mut self.name);
    }

    /// Makes it one that gets no answer.
    pub fn clear(&mut self) {
        self.parsed = Parsed::Silence;
    }

    /// The type that is asked for, where a name has to be found.
    fn qtype(&self) -> Option<u16> {
        match &self.parsed {
            Parsed::Query(query) => Some(query.qtype),
            Parsed::Refused(_) | Parsed::Silence => None,
        }
    }
}

impl Snapshot {
    /// Looks up all queries of a batch.
    pub fn look_up<'a>(&'a self, batch: &'a mut [Pending]) -> LookedUp<'a> {
        for one in &mut *batch {
            one.probe = match one.qtype() {
                Some(_) => self.names.begin(one.name.wire()),
                None => Probe::default(),
            };
        }
        for one in &mut *batch {
            if one.qtype().is_some() {
                self.names.look(&mut one.probe);
                if let Some(number) = one.probe.candidate() {
                    black_box(self.nodes[number as usize].zone);
                }
            }
        }
        for one in &mut *batch {
            one.exact = None;
            if let Some(qtype) = one.qtype() {
                one.exact = self.names.confirm(one.probe, one.name.wire());
                if let Some(number) = one.exact {
                    self.fetch_answer(number, qtype);
                }
            }
        }
        LookedUp {
            snapshot: self,
            batch,
        }
    }

    /// Has the answer come nearer that a query for one of the usual types gets.
    fn fetch_answer(&self, number: u32, qtype: u16) {
        let node = &self.nodes[number as usize];
        let kind = node.first.iter().find(|kind| kind.rtype == qtype);
        let given = kind.map_or(Given::NOTHING, |kind| kind.given);
        if let Ok(answer) = given.split()
            && let Some(answer) = self.answers.get(answer as usize)
        {
            black_box(answer.code);
        }
    }
}

impl LookedUp<'_> {
    /// Answers a query of the batch, as [`Snapshot::respond`] does. `packet` is what it was read from.
    pub fn respond(
        &self,
        at: usize,
        packet: &[u8],
        client: IpAddr,
        limits: Limits<'_>,
        out: &mut [u8],
    ) -> Responded {
        let Pending {
            name,
            parsed,
            exact,
            ..
        } = &self.batch[at];
        let asked = Asked {
            packet,
            parsed,
            name,
            exact: *exact,
        };
        self.snapshot.respond_to(&asked, client, limits, out)
    }
}
