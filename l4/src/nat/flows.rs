//! Flows that the kernel keeps with the endpoint that it has chosen, and how they are taken from it.

use std::io;
use std::net::{IpAddr, SocketAddr};

use super::gone::Gone;
use super::netlink::{Netlink, Request, attribute, find};
use crate::forward::Transport;

/// Flows from anybody to an address of ours that have come to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Flows {
    pub(super) transport: Transport,
    pub(super) service: SocketAddr,
    pub(super) endpoint: SocketAddr,
}

/// Makes the kernel forget flows, so that their next packets are dealt out anew; how many there were.
pub(super) fn forget(netlink: &mut Netlink, gone: &Gone) -> io::Result<usize> {
    let mut forgotten = 0;
    for v6 in [false, true] {
        if !gone.any_over(v6) {
            continue;
        }
        let request = |what| Request {
            subsystem: CONNTRACK,
            what,
            family: if v6 { INET6 } else { INET4 },
        };
        let mut found = Vec::new();
        netlink.dump(request(GET), &[], |entry| {
            if parse(entry).is_some_and(|either| either.iter().any(|flows| gone.holds(flows))) {
                found.extend(name(entry));
            }
        })?;
        for name in found {
            match netlink.execute(request(DELETE), &name) {
                Ok(()) => forgotten += 1,
                // It has ended by itself.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(forgotten)
}

/// What an entry can be: a flow that began with the client, or one that this machine has first heard of by an answer.
fn parse(entry: &[u8]) -> Option<[Flows; 2]> {
    let (original, reply) = (find(entry, ORIGINAL)?, find(entry, REPLY)?);
    let transport = match find(find(original, PROTOCOL)?, NUMBER)? {
        [6] => Transport::Tcp,
        [17] => Transport::Udp,
        _ => return None,
    };
    let between = |to, from| {
        Some(Flows {
            transport,
            service: side(to, [V4_TO, V6_TO], PORT_TO)?,
            endpoint: side(from, [V4_FROM, V6_FROM], PORT_FROM)?,
        })
    };
    Some([between(original, reply)?, between(reply, original)?])
}

fn side(tuple: &[u8], [v4, v6]: [u16; 2], port: u16) -> Option<SocketAddr> {
    let addresses = find(tuple, ADDRESSES)?;
    let address = match find(addresses, v4) {
        Some(v4) => IpAddr::from(<[u8; 4]>::try_from(v4).ok()?),
        None => IpAddr::from(<[u8; 16]>::try_from(find(addresses, v6)?).ok()?),
    };
    let port = find(find(tuple, PROTOCOL)?, port)?;
    Some(SocketAddr::new(
        address,
        u16::from_be_bytes(port.try_into().ok()?),
    ))
}

/// What names an entry to the kernel.
fn name(entry: &[u8]) -> Option<Vec<u8>> {
    let mut name = attribute(ORIGINAL | NESTED, find(entry, ORIGINAL)?);
    for kind in [ZONE, ID] {
        if let Some(value) = find(entry, kind) {
            name.extend(attribute(kind, value));
        }
    }
    Some(name)
}

// linux/netfilter/nfnetlink_conntrack.h
const CONNTRACK: u8 = 1;
const GET: u8 = 1;
const DELETE: u8 = 2;
const INET4: u8 = 2;
const INET6: u8 = 10;
const ORIGINAL: u16 = 1;
const REPLY: u16 = 2;
const ID: u16 = 12;
const ZONE: u16 = 18;
const ADDRESSES: u16 = 1;
const PROTOCOL: u16 = 2;
const V4_FROM: u16 = 1;
const V4_TO: u16 = 2;
const V6_FROM: u16 = 3;
const V6_TO: u16 = 4;
const NUMBER: u16 = 1;
const PORT_FROM: u16 = 2;
const PORT_TO: u16 = 3;
const NESTED: u16 = 0x8000;
