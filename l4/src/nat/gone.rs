//! Which flows are to be taken from the endpoints that the kernel keeps them with. Decides, and does nothing.

use std::collections::HashSet;
use std::net::SocketAddr;

use super::flows::Flows;
use crate::forward::{Service, Transport};

/// Flows that are to be forgotten.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Gone {
    flows: HashSet<Flows>,
    /// Services whose flows are to be with one of these endpoints, and with nobody else.
    only: Option<Only>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Only {
    services: HashSet<(Transport, SocketAddr)>,
    flows: HashSet<Flows>,
}

impl Gone {
    /// Flows of endpoints that were there and are not, or that are not well; those of connections only with `reset`.
    pub(super) fn between(before: &[Service], now: &[Service], reset: bool) -> Self {
        let mut flows = pairs(before, reset, false);
        flows.extend(pairs(now, reset, false));
        let well = pairs(now, reset, true);
        flows.retain(|flows| !well.contains(flows));
        flows.extend(untranslated(before, now));
        Self { flows, only: None }
    }

    /// Flows of everybody who is not an endpoint that is well, whoever has led them there: what was forwarded before
    /// is not known.
    pub(super) fn strange(now: &[Service], reset: bool) -> Self {
        let forgettable = now
            .iter()
            .filter(|one| reset || one.transport == Transport::Udp);
        let only = Only {
            services: forgettable
                .map(|one| (one.transport, one.address))
                .collect(),
            flows: pairs(now, reset, true),
        };
        let flows = HashSet::new();
        let only = Some(only);
        Self { flows, only }
    }

    /// These and others.
    pub(super) fn and(mut self, other: Self) -> Self {
        self.flows.extend(other.flows);
        self.only = other.only.or(self.only);
        self
    }

    /// Whether there is nothing to forget.
    pub(super) fn is_empty(&self) -> bool {
        self.flows.is_empty()
            && self
                .only
                .as_ref()
                .is_none_or(|only| only.services.is_empty())
    }

    /// Whether there may be some over this version of IP.
    pub(super) fn any_over(&self, v6: bool) -> bool {
        let only = self.only.iter().flat_map(|only| &only.services);
        let mut services = only
            .map(|(_, service)| service)
            .chain(self.flows.iter().map(|flows| &flows.service));
        services.any(|service| service.is_ipv6() == v6)
    }

    /// Whether flows are to be forgotten.
    pub(super) fn holds(&self, flows: &Flows) -> bool {
        self.flows.contains(flows) || self.only.as_ref().is_some_and(|only| only.excludes(flows))
    }
}

impl Only {
    fn excludes(&self, flows: &Flows) -> bool {
        let ours = self.services.contains(&(flows.transport, flows.service));
        // Connections that end here may belong to a listener that was here before.
        let here = flows.transport == Transport::Tcp && flows.endpoint == flows.service;
        ours && !here && !self.flows.contains(flows)
    }
}

/// What services have with their endpoints, or with those that are well.
fn pairs(services: &[Service], reset: bool, well: bool) -> HashSet<Flows> {
    let forgettable = services
        .iter()
        .filter(|service| reset || service.transport == Transport::Udp);
    let pairs = forgettable.flat_map(|service| {
        let members = service.members.iter().filter(|member| !well || member.well);
        let flows = members.map(|member| Flows {
            transport: service.transport,
            service: service.address,
            endpoint: member.address,
        });
        flows.collect::<Vec<_>>()
    });
    pairs.collect()
}

/// Datagrams that came before there was a service: the kernel would keep their flows with this machine. Connections end by
/// themselves, and some may belong to a listener that was here before.
fn untranslated(before: &[Service], now: &[Service]) -> HashSet<Flows> {
    let known = |service: &&Service| {
        let same = |other: &Service| {
            other.address == service.address && other.transport == service.transport
        };
        service.transport == Transport::Tcp || before.iter().any(same)
    };
    let new = now.iter().filter(|service| !known(service));
    let flows = new.map(|service| Flows {
        transport: service.transport,
        service: service.address,
        endpoint: service.address,
    });
    flows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forward::Member;

    fn service(transport: Transport, members: &[(&str, bool)]) -> Service {
        let member = |(address, well): &(&str, bool)| Member {
            address: address.parse().unwrap(),
            share: 10,
            well: *well,
        };
        Service {
            name: "one".into(),
            transport,
            address: "203.0.113.1:53".parse().unwrap(),
            by_source: false,
            members: members.iter().map(member).collect(),
        }
    }

    fn flows(transport: Transport, endpoint: &str) -> Flows {
        Flows {
            transport,
            service: "203.0.113.1:53".parse().unwrap(),
            endpoint: endpoint.parse().unwrap(),
        }
    }

    #[test]
    fn datagrams_leave_endpoints_that_are_gone_or_not_well() {
        let before = [service(
            Transport::Udp,
            &[("10.0.0.1:53", true), ("10.0.0.2:53", true)],
        )];
        let now = [service(
            Transport::Udp,
            &[("10.0.0.2:53", false), ("10.0.0.3:53", true)],
        )];
        let gone = Gone::between(&before, &now, false);
        let leaves = |endpoint| gone.holds(&flows(Transport::Udp, endpoint));
        assert!(leaves("10.0.0.1:53") && leaves("10.0.0.2:53"));
        assert!(!leaves("10.0.0.3:53") && !leaves("10.0.0.4:53"));
    }

    #[test]
    fn after_a_process_that_nothing_is_known_of_flows_are_with_endpoints_that_are_well() {
        let now = [Transport::Tcp, Transport::Udp]
            .map(|transport| service(transport, &[("10.0.0.1:53", true)]));
        let gone = Gone::strange(&now, false);
        assert!(gone.holds(&flows(Transport::Udp, "10.0.0.9:53")));
        assert!(!gone.holds(&flows(Transport::Udp, "10.0.0.1:53")));
        assert!(!gone.holds(&flows(Transport::Tcp, "10.0.0.9:53")));
        assert!(gone.any_over(false) && !gone.any_over(true));
        let gone = Gone::strange(&now, true);
        assert!(gone.holds(&flows(Transport::Tcp, "10.0.0.9:53")));
        assert!(!gone.holds(&flows(Transport::Tcp, "203.0.113.1:53")));
    }
}
