//! What is to change in the kernel's maps so that they say what is wanted. Pure: it decides, [`super::maps`] writes.
//!
//! Services and endpoints have numbers that they keep while they are listed, through restarts too: a flow in the
//! kernel knows its endpoint by number and generation. Another generation makes all flows of the number void.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use crate::balance::Maglev;
use crate::forward::{Member, Service};

use super::layout::{
    EndpointBytes, EndpointValue, Key, MAX_ENDPOINTS, MAX_SERVICES, ServiceValue, Slots, Way,
    nobody,
};

/// A change of one map, in the order in which they are to be made.
pub(super) enum Change {
    /// A number's value. `anew` when it had been another's: its counters begin at 0.
    Endpoint {
        number: u32,
        value: EndpointBytes,
        anew: bool,
    },
    /// Another table, in one step.
    Table { table: u32, slots: Box<Slots> },
    /// A service, known or new.
    Service { key: Key, value: ServiceValue },
    /// One that is no longer served.
    NoService { key: Key },
}

/// There is more than the maps have room for.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum Full {
    #[error("more than {MAX_SERVICES} listeners with mode dr")]
    Services,
    #[error("more than {} endpoints of listeners with mode dr", MAX_ENDPOINTS - 1)]
    Endpoints,
}

/// What the maps say.
#[derive(Clone, Debug, Default)]
pub(super) struct Book {
    services: BTreeMap<Key, Known>,
    endpoints: BTreeMap<(Key, IpAddr), (u32, EndpointValue)>,
    /// Of numbers that are nobody's, those that have been so for longest first; with their generation.
    free: VecDeque<(u32, u32)>,
}

#[derive(Clone, Debug)]
struct Known {
    value: ServiceValue,
    /// What the table was made from; none when another process has made it.
    dealt: Option<Vec<Dealt>>,
}

/// An endpoint in a table: its number, its name and its share.
type Dealt = (u32, String, u32);

impl Book {
    /// As the maps have it: services, and the value of every number.
    pub(super) fn read(
        services: impl IntoIterator<Item = (Key, ServiceValue)>,
        endpoints: impl IntoIterator<Item = (u32, EndpointBytes)>,
    ) -> Self {
        let mut book = Self::default();
        for (key, value) in services {
            let known = Known { value, dealt: None };
            book.services.insert(key, known);
        }
        for (number, bytes) in endpoints {
            if number == 0 {
                continue;
            }
            match EndpointValue::parse(&bytes) {
                Some(value) if EndpointValue::generation(&bytes) > 0 => {
                    let name = (value.service, value.address);
                    book.endpoints.insert(name, (number, value));
                }
                _ => {
                    let generation = EndpointValue::generation(&bytes);
                    book.free.push_back((number, generation));
                }
            }
        }
        book
    }

    /// The endpoints by service and address, with their numbers.
    pub(super) fn endpoints(&self) -> impl Iterator<Item = (u32, &EndpointValue)> {
        self.endpoints
            .values()
            .map(|(number, value)| (*number, value))
    }

    /// What leads from here to what is wanted; the book then says so.
    ///
    /// # Errors
    /// When there is no room for it; the book is then to be read anew.
    pub(super) fn change(
        &mut self,
        wanted: &[Service],
        ways: &HashMap<IpAddr, Way>,
    ) -> Result<Vec<Change>, Full> {
        let mut changes = Vec::new();
        let mut gone = Vec::new();
        self.leave(wanted, &mut changes, &mut gone);
        for service in wanted {
            let (first, last) = self.members(service, ways)?;
            changes.extend(first);
            gone.extend(last);
            self.serve(service, &mut changes)?;
        }
        // Tables come first: a flow whose endpoint is gone is led by them.
        changes.extend(gone);
        Ok(changes)
    }

    /// Gives up services and endpoints that are no longer listed.
    fn leave(&mut self, wanted: &[Service], changes: &mut Vec<Change>, gone: &mut Vec<Change>) {
        let listed: BTreeSet<Key> = wanted.iter().map(key_of).collect();
        self.services.retain(|key, _| {
            let stays = listed.contains(key);
            if !stays {
                changes.push(Change::NoService { key: *key });
            }
            stays
        });
        let members: BTreeSet<(Key, IpAddr)> = wanted
            .iter()
            .flat_map(|service| {
                let key = key_of(service);
                service
                    .members
                    .iter()
                    .map(move |member| (key, member.address.ip()))
            })
            .collect();
        let free = &mut self.free;
        self.endpoints.retain(|name, (number, value)| {
            let stays = members.contains(name);
            if !stays {
                let generation = value.generation.wrapping_add(1);
                free.push_back((*number, generation));
                gone.push(Change::Endpoint {
                    number: *number,
                    value: nobody(generation),
                    anew: false,
                });
            }
            stays
        });
    }

    /// The values of a service's endpoints: those to write before its table, and those to write after it.
    fn members(
        &mut self,
        service: &Service,
        ways: &HashMap<IpAddr, Way>,
    ) -> Result<(Vec<Change>, Vec<Change>), Full> {
        let key = key_of(service);
        let (mut first, mut last) = (Vec::new(), Vec::new());
        for member in &service.members {
            let address = member.address.ip();
            let before = self.endpoints.get(&(key, address)).copied();
            let (number, value) = match before {
                Some(before) => before,
                None => self.number(key, address)?,
            };
            // A way that is not known for now is as it was: an endpoint that is well answers on it.
            let way = ways.get(&address).copied().unwrap_or(value.way);
            let live = member.well && way.ifindex > 0;
            let dies = value.live && !live;
            let after = EndpointValue {
                generation: value.generation.wrapping_add(dies.into()),
                live,
                way,
                ..value
            };
            if before.is_none() || after != value {
                let change = Change::Endpoint {
                    number,
                    value: after.bytes(),
                    anew: before.is_none(),
                };
                if dies { &mut last } else { &mut first }.push(change);
            }
            self.endpoints.insert((key, address), (number, after));
        }
        Ok((first, last))
    }

    /// A number for an endpoint that has none.
    fn number(&mut self, service: Key, address: IpAddr) -> Result<(u32, EndpointValue), Full> {
        let (number, generation) = self.free.pop_front().ok_or(Full::Endpoints)?;
        let value = EndpointValue {
            generation: generation.wrapping_add(1).max(1),
            live: false,
            way: Way::default(),
            address,
            service,
        };
        Ok((number, value))
    }

    /// A service's table and value, where they change.
    fn serve(&mut self, service: &Service, changes: &mut Vec<Change>) -> Result<(), Full> {
        let key = key_of(service);
        let dealt: Vec<Dealt> = service
            .members
            .iter()
            .filter_map(|member| self.deal(key, member))
            .collect();
        let known = self.services.get(&key);
        let table = match known {
            Some(known) => known.value.table,
            None => self.free_table().ok_or(Full::Services)?,
        };
        let value = ServiceValue {
            table,
            by_source: service.by_source,
        };
        if known.and_then(|known| known.dealt.as_ref()) != Some(&dealt) {
            let slots = slots_of(&dealt);
            changes.push(Change::Table { table, slots });
        }
        if known.is_none_or(|known| known.value != value) {
            changes.push(Change::Service { key, value });
        }
        let dealt = Some(dealt);
        self.services.insert(key, Known { value, dealt });
        Ok(())
    }

    fn deal(&self, key: Key, member: &Member) -> Option<Dealt> {
        let (number, value) = self.endpoints.get(&(key, member.address.ip()))?;
        let gets = value.live && member.share > 0;
        gets.then(|| (*number, member.address.to_string(), member.share))
    }

    fn free_table(&self) -> Option<u32> {
        let taken: BTreeSet<u32> = self
            .services
            .values()
            .map(|known| known.value.table)
            .collect();
        (0..MAX_SERVICES).find(|table| !taken.contains(table))
    }
}

fn key_of(service: &Service) -> Key {
    Key {
        address: service.address,
        transport: service.transport,
    }
}

/// The table that the mode `proxy` has for the same endpoints, by their numbers.
fn slots_of(dealt: &[Dealt]) -> Box<Slots> {
    let names: Vec<(&str, u32)> = dealt
        .iter()
        .map(|(_, name, share)| (&**name, *share))
        .collect();
    let table = Maglev::new(&names, Maglev::SLOTS);
    let slots: Vec<u16> = table
        .slots()
        .iter()
        .map(|at| match dealt.get(*at as usize) {
            Some((number, _, _)) => *number as u16,
            None => 0,
        })
        .collect();
    slots.try_into().expect("a table has so many slots")
}

/// The listeners' names by service, for what is told.
pub(super) fn names(wanted: &[Service]) -> HashMap<Key, Arc<str>> {
    wanted
        .iter()
        .map(|service| (key_of(service), service.name.clone()))
        .collect()
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
