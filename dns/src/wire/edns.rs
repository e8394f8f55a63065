//! The OPT record of a query (RFC 6891), and what a client says in it: its subnet (RFC 7871), its cookie (RFC 7873),
//! and what it wants to know of the server.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Cookie, u16_at};

/// What a client says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edns {
    /// How many octets it takes over UDP, as it says.
    pub udp_size: u16,
    /// The version of EDNS.
    pub version: u8,
    /// It wants signatures (RFC 3225).
    pub wants_dnssec: bool,
    /// It takes NXDOMAIN with a record that says the name is there without types (CO, RFC 9824, 5.1).
    pub takes_compact: bool,
    /// The network that it asks for.
    pub subnet: Option<Subnet>,
    /// Its cookie.
    pub cookie: Option<Cookie>,
    /// It wants to know which server answers (RFC 5001).
    pub wants_identity: bool,
    /// It wants to know how long a connection is kept (RFC 7828).
    pub keepalive: bool,
    /// It pads its messages, and wants answers padded (RFC 7830).
    pub padding: bool,
}

/// DO, in the flags of an OPT record (RFC 3225).
pub const WANTS_DNSSEC: u8 = 0x80;

/// An OPT record of our own before its options, of which there are so many octets. `size` is what we take over UDP, in
/// octets, `code` the whole response code.
pub fn opt_record(size: u16, code: u16, flags: u8, options: u16) -> [u8; 11] {
    let [_, kind] = super::rtype::OPT.to_be_bytes();
    let [size_high, size_low] = size.to_be_bytes();
    let [high, low] = options.to_be_bytes();
    let code = (code >> 4) as u8;
    [
        0, 0, kind, size_high, size_low, code, 0, flags, 0, high, low,
    ]
}

/// A client's network (RFC 7871, 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subnet {
    /// The family of its address.
    pub family: Family,
    /// How many bits of the address are told.
    pub source: u8,
    /// The address; bits beyond `source` are 0.
    pub address: [u8; 16],
}

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// The options that are known, by their codes.
pub mod option {
    /// Which server answers (RFC 5001).
    pub const IDENTITY: u16 = 3;
    /// A client's network (RFC 7871).
    pub const SUBNET: u16 = 8;
    /// A cookie (RFC 7873).
    pub const COOKIE: u16 = 10;
    /// How long a connection is kept (RFC 7828).
    pub const KEEPALIVE: u16 = 11;
    /// What makes a message longer (RFC 7830).
    pub const PADDING: u16 = 12;
    /// What an error is about (RFC 8914).
    pub const ERROR: u16 = 15;
}

/// The bit DO in the flags.
const DNSSEC_OK: u16 = 0x8000;
/// The bit CO.
const COMPACT_OK: u16 = 0x4000;

impl Edns {
    /// Reads the record after its type: the size for a class, the flags for a TTL, then options.
    ///
    /// None when it is broken. Options that are not known are passed over.
    pub(super) fn read(udp_size: u16, ttl: [u8; 4], options: &[u8]) -> Option<Self> {
        let [_, version, high, low] = ttl;
        let mut edns = Self {
            udp_size,
            version,
            wants_dnssec: u16::from_be_bytes([high, low]) & DNSSEC_OK != 0,
            takes_compact: u16::from_be_bytes([high, low]) & COMPACT_OK != 0,
            subnet: None,
            cookie: None,
            wants_identity: false,
            keepalive: false,
            padding: false,
        };
        if version != 0 {
            // What its options mean is that version's business.
            return Some(edns);
        }
        let mut rest = options;
        while !rest.is_empty() {
            let (code, length) = (u16_at(rest, 0)?, u16_at(rest, 2)?);
            let data = rest.get(4..4 + usize::from(length))?;
            match code {
                // A second one says something else: which of them is true?
                option::SUBNET if edns.subnet.is_some() => return None,
                option::SUBNET => edns.subnet = Some(Subnet::read(data)?),
                // Of several the first counts (RFC 7873, 5.2).
                option::COOKIE if edns.cookie.is_none() => edns.cookie = Some(Cookie::read(data)?),
                option::IDENTITY => edns.wants_identity = true,
                option::KEEPALIVE => edns.keepalive = true,
                option::PADDING => edns.padding = true,
                _ => {}
            }
            rest = &rest[4 + data.len()..];
        }
        Some(edns)
    }
}

impl Subnet {
    /// Reads the option's data (RFC 7871, 6 and 7.1.2).
    fn read(data: &[u8]) -> Option<Self> {
        let [_, _, source, scope, told @ ..] = data else {
            return None;
        };
        let (family, bits) = match u16_at(data, 0)? {
            1 => (Family::V4, 32),
            2 => (Family::V6, 128),
            _ => return None,
        };
        // Exactly the octets that the bits need, and nothing in those that are not told.
        let octets = usize::from(*source).div_ceil(8);
        if *source > bits || *scope != 0 || told.len() != octets {
            return None;
        }
        let spare = octets * 8 - usize::from(*source);
        if told
            .last()
            .is_some_and(|last| last & !(0xFF << spare) as u8 != 0)
        {
            return None;
        }
        let mut address = [0; 16];
        address[..octets].copy_from_slice(told);
        Some(Self {
            family,
            source: *source,
            address,
        })
    }

    /// The first address of the network.
    pub fn ip(&self) -> IpAddr {
        match self.family {
            Family::V4 => {
                let [a, b, c, d, ..] = self.address;
                Ipv4Addr::new(a, b, c, d).into()
            }
            Family::V6 => Ipv6Addr::from(self.address).into(),
        }
    }

    /// Writes the option with the scope of the answer; how many octets it took.
    pub fn write(&self, scope: u8, out: &mut [u8]) -> usize {
        let octets = usize::from(self.source).div_ceil(8);
        let family: u16 = match self.family {
            Family::V4 => 1,
            Family::V6 => 2,
        };
        let length = (4 + octets) as u16;
        out[..2].copy_from_slice(&option::SUBNET.to_be_bytes());
        out[2..4].copy_from_slice(&length.to_be_bytes());
        out[4..6].copy_from_slice(&family.to_be_bytes());
        out[6] = self.source;
        out[7] = scope;
        out[8..8 + octets].copy_from_slice(&self.address[..octets]);
        8 + octets
    }

    /// How many octets [`Self::write`] takes.
    pub fn len(&self) -> usize {
        8 + usize::from(self.source).div_ceil(8)
    }

    /// Whether it tells nothing about the client: then it may be told by the packet's address.
    pub fn is_empty(&self) -> bool {
        self.source == 0
    }
}
