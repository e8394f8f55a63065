//! What the program and this process both know: `bpf/layout.h` in Rust.
//!
//! Values of the kernel's maps are taken apart and put together here, byte by byte: there is no `unsafe`.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use crate::balance::{Maglev, stable_hash};
use crate::forward::Transport;

/// Services at a time.
pub(super) const MAX_SERVICES: u32 = 256;
/// Endpoints of all services at a time, and the number 0, which is nobody's.
pub(super) const MAX_ENDPOINTS: u32 = 4096;

/// The endpoints' numbers in a table's order.
pub(super) type Slots = [u16; Maglev::SLOTS as usize];

/// Tells maps of this layout from those of another: a name for a folder.
pub(super) fn name(flows: u32) -> String {
    let text = stable_hash(include_bytes!("../../bpf/layout.h"), 0);
    format!("maps-{:08x}-{flows}", text >> 32)
}

/// Which service a packet is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key {
    pub(super) address: SocketAddr,
    pub(super) transport: Transport,
}

/// A [`Key`] in a map.
pub(super) type KeyBytes = [u8; 20];

impl Key {
    pub(super) fn bytes(self) -> KeyBytes {
        let mut bytes = [0; 20];
        bytes[..16].copy_from_slice(&address_bytes(self.address.ip()));
        bytes[16..18].copy_from_slice(&self.address.port().to_be_bytes());
        bytes[18] = protocol(self.transport);
        bytes
    }

    /// None when these bytes are not of our making.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let address = address_of(bytes.get(..16)?)?;
        let port = u16::from_be_bytes([*bytes.get(16)?, *bytes.get(17)?]);
        let transport = match bytes.get(18)? {
            6 => Transport::Tcp,
            17 => Transport::Udp,
            _ => return None,
        };
        Some(Self {
            address: SocketAddr::new(address, port),
            transport,
        })
    }
}

/// The number of a protocol above IP.
pub(super) fn protocol(transport: Transport) -> u8 {
    match transport {
        Transport::Tcp => 6,
        Transport::Udp => 17,
    }
}

/// An address as the program has it: those of IPv4 as `::ffff:a.b.c.d`.
pub(super) fn address_bytes(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

fn address_of(bytes: &[u8]) -> Option<IpAddr> {
    let octets: [u8; 16] = bytes.try_into().ok()?;
    Some(Ipv6Addr::from(octets).to_canonical())
}

/// A service's table and how flows are led.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ServiceValue {
    pub(super) table: u32,
    pub(super) by_source: bool,
}

impl ServiceValue {
    pub(super) fn bytes(self) -> [u8; 8] {
        let mut bytes = [0; 8];
        bytes[..4].copy_from_slice(&self.table.to_ne_bytes());
        bytes[4..].copy_from_slice(&u32::from(self.by_source).to_ne_bytes());
        bytes
    }

    pub(super) fn parse(bytes: &[u8; 8]) -> Self {
        let (table, flags) = (word(bytes, 0), word(bytes, 4));
        Self {
            table,
            by_source: flags & 1 != 0,
        }
    }
}

/// The address of an interface in its network.
pub(super) type Mac = [u8; 6];

/// Where frames to an endpoint go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Way {
    pub(super) ifindex: u32,
    pub(super) mac: Mac,
    pub(super) source_mac: Mac,
}

/// An endpoint of one service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EndpointValue {
    pub(super) generation: u32,
    pub(super) live: bool,
    pub(super) way: Way,
    pub(super) address: IpAddr,
    pub(super) service: Key,
}

/// An [`EndpointValue`] in a map.
pub(super) type EndpointBytes = [u8; 60];

impl EndpointValue {
    pub(super) fn bytes(&self) -> EndpointBytes {
        let mut bytes = [0; 60];
        bytes[..4].copy_from_slice(&self.generation.to_ne_bytes());
        bytes[4..8].copy_from_slice(&u32::from(self.live).to_ne_bytes());
        bytes[8..12].copy_from_slice(&self.way.ifindex.to_ne_bytes());
        bytes[12..18].copy_from_slice(&self.way.mac);
        bytes[18..24].copy_from_slice(&self.way.source_mac);
        bytes[24..40].copy_from_slice(&address_bytes(self.address));
        bytes[40..].copy_from_slice(&self.service.bytes());
        bytes
    }

    /// None when nobody has this number.
    pub(super) fn parse(bytes: &EndpointBytes) -> Option<Self> {
        let mut way = Way {
            ifindex: word(bytes, 8),
            ..Way::default()
        };
        way.mac.copy_from_slice(&bytes[12..18]);
        way.source_mac.copy_from_slice(&bytes[18..24]);
        Some(Self {
            generation: word(bytes, 0),
            live: word(bytes, 4) & 1 != 0,
            way,
            address: address_of(&bytes[24..40])?,
            service: Key::parse(&bytes[40..])?,
        })
    }

    /// The generation in a value that may be nobody's.
    pub(super) fn generation(bytes: &EndpointBytes) -> u32 {
        word(bytes, 0)
    }
}

/// The value of a number that is nobody's: no flow of this generation or an earlier one is valid.
pub(super) fn nobody(generation: u32) -> EndpointBytes {
    let mut bytes = [0; 60];
    bytes[..4].copy_from_slice(&generation.to_ne_bytes());
    bytes
}

/// Packets, bytes and flows of an endpoint on one CPU.
pub(super) type CounterBytes = [u64; 3];

/// What the program counts beside, in its order.
pub(super) const EVENTS: [&str; 4] = ["no_endpoint", "expired", "icmp", "not_kept"];

fn word(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_ne_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_as_they_went() {
        for address in ["192.0.2.1:443", "[2001:db8::1]:53"] {
            for transport in [Transport::Tcp, Transport::Udp] {
                let service = Key {
                    address: address.parse().expect("an address"),
                    transport,
                };
                assert_eq!(Key::parse(&service.bytes()), Some(service));
                let endpoint = EndpointValue {
                    generation: 77,
                    live: true,
                    way: Way {
                        ifindex: 3,
                        mac: [1, 2, 3, 4, 5, 6],
                        source_mac: [6, 5, 4, 3, 2, 1],
                    },
                    address: service.address.ip(),
                    service,
                };
                assert_eq!(EndpointValue::parse(&endpoint.bytes()), Some(endpoint));
            }
        }
        let value = ServiceValue {
            table: 9,
            by_source: true,
        };
        assert_eq!(ServiceValue::parse(&value.bytes()), value);
        assert_eq!(EndpointValue::parse(&nobody(5)), None);
        assert_eq!(EndpointValue::generation(&nobody(5)), 5);
    }
}
