//! What the table holds, from what is to be forwarded. Decides, and does nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use super::{Error, NatConfig, chains};
use crate::balance::Maglev;
use crate::forward::{Service, Transport};

/// Everything in the table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ruleset {
    /// Maps from slots to endpoints.
    pub(super) slots: BTreeMap<String, Slots>,
    /// Rules by the name of their chain.
    pub(super) chains: BTreeMap<String, Chain>,
    /// Elements of maps, by map and key: chains of services, and counters of flows.
    pub(super) elements: BTreeMap<(&'static str, String), String>,
    /// Counters.
    pub(super) counters: BTreeSet<String>,
}

/// A map from slots to endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slots {
    /// The type of the endpoints' addresses.
    pub(super) family: Family,
    /// Of whose flows they are, as nftables calls it.
    pub(super) transport: &'static str,
    /// Whom each slot leads to.
    pub(super) endpoints: Vec<Option<SocketAddr>>,
}

/// Rules in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Chain {
    /// Where the kernel enters it; nowhere for those that others lead to.
    pub(super) hook: Option<&'static str>,
    /// The rules.
    pub(super) rules: Vec<String>,
}

/// A version of IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    pub(super) fn of(address: SocketAddr) -> Self {
        match address {
            SocketAddr::V4(_) => Self::V4,
            SocketAddr::V6(_) => Self::V6,
        }
    }

    /// As nftables calls it.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::V4 => "ip",
            Self::V6 => "ip6",
        }
    }

    /// The type of its addresses.
    pub(super) const fn address(self) -> &'static str {
        match self {
            Self::V4 => "ipv4_addr",
            Self::V6 => "ipv6_addr",
        }
    }

    /// The map of services.
    pub(super) const fn services(self) -> &'static str {
        match self {
            Self::V4 => "services4",
            Self::V6 => "services6",
        }
    }

    /// The map of whom endpoints answer for.
    pub(super) const fn answers(self) -> &'static str {
        match self {
            Self::V4 => "answers4",
            Self::V6 => "answers6",
        }
    }
}

/// What a map leads from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Of {
    /// Addresses of services, to their chains.
    Services,
    /// Addresses of endpoints, to those of the services that they answer for.
    Answers,
    /// Addresses of services and endpoints, to counters.
    Flows,
}

/// Maps whose elements are of this type of addresses: services, and counters of what they count.
pub(super) const MAPS: [(&str, Family, Of); 16] = [
    ("services4", Family::V4, Of::Services),
    ("services6", Family::V6, Of::Services),
    ("answers4", Family::V4, Of::Answers),
    ("answers6", Family::V6, Of::Answers),
    ("tcp4-flows", Family::V4, Of::Flows),
    ("tcp4-in", Family::V4, Of::Flows),
    ("tcp4-out", Family::V4, Of::Flows),
    ("tcp6-flows", Family::V6, Of::Flows),
    ("tcp6-in", Family::V6, Of::Flows),
    ("tcp6-out", Family::V6, Of::Flows),
    ("udp4-flows", Family::V4, Of::Flows),
    ("udp4-in", Family::V4, Of::Flows),
    ("udp4-out", Family::V4, Of::Flows),
    ("udp6-flows", Family::V6, Of::Flows),
    ("udp6-in", Family::V6, Of::Flows),
    ("udp6-out", Family::V6, Of::Flows),
];

impl Ruleset {
    /// What forwards these services.
    pub(super) fn new(config: &NatConfig, services: &[Service]) -> Result<Self, Error> {
        judge(services)?;
        let mut ruleset = Self {
            slots: BTreeMap::new(),
            chains: chains::framework(config, services),
            elements: BTreeMap::new(),
            counters: BTreeSet::new(),
        };
        // Services with the same endpoints share their slots: many addresses of one cluster.
        let mut shared: BTreeMap<_, String> = BTreeMap::new();
        for service in services {
            let (v6, transport) = (service.address.is_ipv6(), service.transport);
            let kind = (transport, v6, endpoints(service));
            let slots = shared.entry(kind).or_insert_with_key(|(.., endpoints)| {
                let name = format!("{}/slots", id(service));
                let slots = Slots::deal(service, endpoints, config.slots);
                ruleset.slots.insert(name.clone(), slots);
                name
            });
            ruleset.forward(service, slots, config.slots);
            ruleset.count(service);
        }
        ruleset.answer(services);
        Ok(ruleset)
    }

    fn forward(&mut self, service: &Service, slots: &str, modulus: u32) {
        let family = Family::of(service.address);
        let (ip, transport) = (family.word(), word(service.transport));
        let flow = if service.by_source {
            // The same seed for all: a client's flows to another port go to the same endpoint, too.
            format!("{ip} saddr mod {modulus} seed {SEED}")
        } else {
            let seed = SEED + u32::from(service.transport == Transport::Udp);
            let ends = format!("{ip} saddr . {transport} sport . {ip} daddr . {transport} dport");
            format!("{ends} mod {modulus} seed {seed}")
        };
        let refusal = match service.transport {
            Transport::Tcp => "tcp reset",
            Transport::Udp => "icmpx port-unreachable",
        };
        let rules = vec![
            format!("meta l4proto {transport} dnat {ip} to jhash {flow} map @{slots}"),
            // No slot led anywhere: there is no endpoint.
            format!("meta l4proto {transport} reject with {refusal}"),
        ];
        let key = format!("{transport} . {}", key(service.address));
        let (chain, map) = (id(service), family.services());
        self.elements.insert((map, key), format!("goto {chain}"));
        let hook = None;
        self.chains.insert(chain, Chain { hook, rules });
    }

    /// Where a packet of an endpoint belongs whose flow is not known: nowhere when it answers for several services.
    fn answer(&mut self, services: &[Service]) {
        let mut answers: BTreeMap<SocketAddr, Option<SocketAddr>> = BTreeMap::new();
        for service in services
            .iter()
            .filter(|one| one.transport == Transport::Tcp)
        {
            for (endpoint, _) in endpoints(service) {
                let known = answers.entry(endpoint);
                known
                    .and_modify(|one| *one = None)
                    .or_insert(Some(service.address));
            }
        }
        for (endpoint, service) in answers {
            if let Some(service) = service {
                let map = Family::of(endpoint).answers();
                self.elements.insert((map, key(endpoint)), key(service));
            }
        }
    }

    fn count(&mut self, service: &Service) {
        let family = Family::of(service.address);
        for (endpoint, _) in endpoints(service) {
            for what in WHAT {
                let name = counter(service, endpoint, what);
                let map = counting(service.transport, family, what);
                let key = format!("{} . {}", key(service.address), key(endpoint));
                self.elements.insert((map, key), format!("\"{name}\""));
                self.counters.insert(name);
            }
        }
    }
}

impl Slots {
    fn deal(service: &Service, endpoints: &[(SocketAddr, u32)], slots: u32) -> Self {
        let names: Vec<String> = endpoints
            .iter()
            .map(|(address, _)| address.to_string())
            .collect();
        let shares = endpoints.iter().map(|(_, share)| *share);
        let named: Vec<_> = names.iter().map(String::as_str).zip(shares).collect();
        let table = Maglev::new(&named, slots);
        let endpoint = |slot: &u32| endpoints.get(*slot as usize).map(|(address, _)| *address);
        Self {
            family: Family::of(service.address),
            transport: word(service.transport),
            endpoints: table.slots().iter().map(endpoint).collect(),
        }
    }
}

/// The name of what counts something of an endpoint: `flows`, `in` (from clients) or `out`.
pub(super) fn counter(service: &Service, endpoint: SocketAddr, what: &str) -> String {
    format!("{}/{}/{what}", id(service), plain(endpoint))
}

/// An address and a port as the key of a map.
pub(super) fn key(address: SocketAddr) -> String {
    format!("{} . {}", address.ip(), address.port())
}

/// Each endpoint once, in an order of their own, with its share of new flows.
fn endpoints(service: &Service) -> Vec<(SocketAddr, u32)> {
    let mut shares = BTreeMap::new();
    for member in &service.members {
        let share: &mut u32 = shares.entry(member.address).or_default();
        *share = share.saturating_add(if member.well { member.share } else { 0 });
    }
    shares.into_iter().collect()
}

fn judge(services: &[Service]) -> Result<(), Error> {
    let mut known = BTreeMap::new();
    for service in services {
        let name = &service.name;
        if service.address.ip().is_unspecified() {
            return Err(Error::Unspecified(name.clone()));
        }
        if let Some(other) = known.insert((service.transport, service.address), name) {
            return Err(Error::Twice(other.clone(), name.clone()));
        }
        let family = Family::of(service.address);
        for member in &service.members {
            if Family::of(member.address) != family {
                return Err(Error::Family {
                    service: name.clone(),
                    endpoint: member.address,
                });
            }
        }
    }
    Ok(())
}

/// The map of what counts something.
pub(super) fn counting(transport: Transport, family: Family, what: &str) -> &'static str {
    let family = if family == Family::V4 { '4' } else { '6' };
    let name = format!("{}{family}-{what}", word(transport));
    let mut maps = MAPS.iter().map(|(map, _, _)| *map);
    maps.find(|map| *map == name).expect("all are listed")
}

pub(super) const fn word(transport: Transport) -> &'static str {
    match transport {
        Transport::Tcp => "tcp",
        Transport::Udp => "udp",
    }
}

/// The name of a service in the table: it stays the same whatever else changes.
fn id(service: &Service) -> String {
    format!("{}-{}", word(service.transport), plain(service.address))
}

/// An address as a part of a name of nftables.
fn plain(address: SocketAddr) -> String {
    let ip = address.ip().to_string().replace([':', '%'], "_");
    format!("{ip}-{}", address.port())
}

const WHAT: [&str; 3] = ["flows", "in", "out"];

/// The same in every process, so that balancers beside each other agree.
const SEED: u32 = 0x7467;

#[cfg(test)]
mod tests;
