//! Which interface and which hardware address lead to an endpoint: what the kernel knows of the networks it is in.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use futures::TryStreamExt;
use rtnetlink::packet_route::link::LinkAttribute;
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::route::{RouteAttribute, RouteType};
use rtnetlink::{Handle, RouteMessageBuilder};

use super::DrError;
use super::layout::{Mac, Way};

/// An interface as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Interface {
    pub(super) ifindex: u32,
    pub(super) name: String,
    pub(super) mac: Mac,
}

/// A connection to the kernel's tables. Its task ends with it.
pub(super) struct Neighbours {
    handle: Handle,
    task: tokio::task::JoinHandle<()>,
    /// Hardware addresses that are configured.
    given: HashMap<IpAddr, Mac>,
}

/// Why there is no way to an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoWay {
    #[error("no route leads to it")]
    Route,
    #[error("a router is between it and this machine: it must be in the same network")]
    Router,
    #[error("it is this machine: mode dr leads to others only")]
    Here,
    #[error("its hardware address is not known (yet): nothing answers there")]
    Silent,
}

impl Neighbours {
    /// Opens it in the network namespace of this process.
    pub(super) fn open(given: HashMap<IpAddr, Mac>) -> Result<Self, DrError> {
        let opened = rtnetlink::new_connection();
        let (connection, handle, _) = opened.map_err(|error| told(&error))?;
        let task = tokio::spawn(connection);
        Ok(Self {
            handle,
            task,
            given,
        })
    }

    /// All interfaces.
    pub(super) async fn interfaces(&self) -> Result<Vec<Interface>, DrError> {
        let mut links = self.handle.link().get().execute();
        let mut interfaces = Vec::new();
        while let Some(link) = links.try_next().await.map_err(|error| told(&error))? {
            let (mut name, mut mac) = (String::new(), None);
            for attribute in link.attributes {
                match attribute {
                    LinkAttribute::IfName(is) => name = is,
                    LinkAttribute::Address(is) => mac = is.try_into().ok(),
                    _ => {}
                }
            }
            if let Some(mac) = mac {
                interfaces.push(Interface {
                    ifindex: link.header.index,
                    name,
                    mac,
                });
            }
        }
        Ok(interfaces)
    }

    /// The way to each of these, or why there is none. Asks for those whose address is not known or grows old: they
    /// are known some time later.
    pub(super) async fn ways(
        &self,
        endpoints: &BTreeSet<IpAddr>,
        interfaces: &[Interface],
    ) -> Result<HashMap<IpAddr, Result<Way, NoWay>>, DrError> {
        let known = self.known().await?;
        let mut ways = HashMap::new();
        for address in endpoints {
            let way = self.way(*address, interfaces, &known).await;
            ways.insert(*address, way);
        }
        Ok(ways)
    }

    async fn way(
        &self,
        address: IpAddr,
        interfaces: &[Interface],
        known: &HashMap<(u32, IpAddr), (Mac, bool)>,
    ) -> Result<Way, NoWay> {
        let ifindex = self.route(address).await?;
        let interface = interfaces
            .iter()
            .find(|interface| interface.ifindex == ifindex);
        let source_mac = interface.ok_or(NoWay::Route)?.mac;
        let way = |mac| Way {
            ifindex,
            mac,
            source_mac,
        };
        if let Some(mac) = self.given.get(&address) {
            return Ok(way(*mac));
        }
        let neighbour = known.get(&(ifindex, address));
        if !neighbour.is_some_and(|(_, fresh)| *fresh) {
            self.ask(ifindex, address).await;
        }
        neighbour.map(|(mac, _)| way(*mac)).ok_or(NoWay::Silent)
    }

    /// The interface in whose network an address is.
    async fn route(&self, address: IpAddr) -> Result<u32, NoWay> {
        let prefix = if address.is_ipv4() { 32 } else { 128 };
        let question = RouteMessageBuilder::<IpAddr>::new()
            .destination_prefix(address, prefix)
            .map_err(|_| NoWay::Route)?
            .build();
        let mut answers = self.handle.route().get(question).execute();
        let answer = answers
            .try_next()
            .await
            .ok()
            .flatten()
            .ok_or(NoWay::Route)?;
        match answer.header.kind {
            RouteType::Unicast => {}
            RouteType::Local => return Err(NoWay::Here),
            _ => return Err(NoWay::Route),
        }
        let mut ifindex = None;
        for attribute in answer.attributes {
            match attribute {
                RouteAttribute::Gateway(_) | RouteAttribute::Via(_) => return Err(NoWay::Router),
                RouteAttribute::Oif(is) => ifindex = Some(is),
                _ => {}
            }
        }
        ifindex.ok_or(NoWay::Route)
    }

    /// Hardware addresses by interface and address, and whether each was confirmed lately.
    async fn known(&self) -> Result<HashMap<(u32, IpAddr), (Mac, bool)>, DrError> {
        let mut messages = self.handle.neighbours().get().execute();
        let mut known = HashMap::new();
        while let Some(message) = messages.try_next().await.map_err(|error| told(&error))? {
            known.extend(entry(&message));
        }
        Ok(known)
    }

    /// Has the kernel find out or confirm an address, as if it had a packet for it.
    async fn ask(&self, ifindex: u32, address: IpAddr) {
        let request = self.handle.neighbours().add(ifindex, address);
        let request = request
            .state(NeighbourState::None)
            .flags(NeighbourFlags::Use);
        if let Err(error) = request.replace().execute().await {
            tracing::debug!(%address, %error, "the kernel was not asked for a hardware address");
        }
    }
}

impl Drop for Neighbours {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn entry(message: &NeighbourMessage) -> Option<((u32, IpAddr), (Mac, bool))> {
    let fresh = match message.header.state {
        NeighbourState::Reachable | NeighbourState::Permanent | NeighbourState::Noarp => true,
        NeighbourState::Stale | NeighbourState::Delay | NeighbourState::Probe => false,
        _ => return None,
    };
    let (mut address, mut mac) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(is)) => {
                address = Some((*is).into())
            }
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(is)) => {
                address = Some((*is).into())
            }
            NeighbourAttribute::LinkLayerAddress(is) => mac = Mac::try_from(&**is).ok(),
            _ => {}
        }
    }
    Some(((message.header.ifindex, address?), (mac?, fresh)))
}

fn told(error: &dyn std::error::Error) -> DrError {
    DrError::Network(super::maps::chain(error))
}
