//! Version 2: binary.
//!
//! ```text
//! signature (12) | version, command (1) | family, transport (1) | length (2) | addresses | TLVs
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Header, LIMIT, Origin, Progress, Refusal, Tlvs, Version, tlv};

pub(super) const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// Before the addresses.
pub(super) const FIXED: usize = 16;

const LOCAL: u8 = 0x20;
pub(super) const PROXY: u8 = 0x21;

/// A path of a UNIX socket, padded with zeros.
const PATH: usize = 108;

pub(super) fn parse(bytes: &[u8]) -> Result<Progress, Refusal> {
    let Some(fixed) = bytes.first_chunk::<FIXED>() else {
        return Ok(Progress::Needs(FIXED - bytes.len()));
    };
    let [.., command, kind, high, low] = *fixed;
    if !matches!(command, LOCAL | PROXY) {
        return Err(Refusal::Kind);
    }
    let length = FIXED + usize::from(u16::from_be_bytes([high, low]));
    if length > LIMIT {
        return Err(Refusal::TooLong);
    }
    // Judged before the rest has come: who is refused need not be waited for.
    let addresses = match (command, kind) {
        (LOCAL, _) | (_, 0x00) => None,
        (_, 0x11 | 0x12) => Some(12),
        (_, 0x21 | 0x22) => Some(36),
        (_, 0x31 | 0x32) => Some(2 * PATH),
        _ => return Err(Refusal::Kind),
    };
    if addresses.is_some_and(|addresses| FIXED + addresses > length) {
        return Err(Refusal::Tlvs);
    }
    let Some(header) = bytes.get(..length) else {
        return Ok(Progress::Needs(length - bytes.len()));
    };
    let (origin, tlvs) = match addresses {
        // What follows is skipped unread: the family says nothing about it.
        None if command == LOCAL => (Origin::Local, Tlvs::default()),
        None => (Origin::Unknown, Tlvs::default()),
        Some(addresses) => {
            let start = FIXED + addresses;
            let origin = origin(kind, &header[FIXED..start]).ok_or(Refusal::Kind)?;
            (origin, tlv::parse(header, start)?)
        }
    };
    let header = Header {
        version: Version::V2,
        origin,
        tlvs,
    };
    Ok(Progress::Done(header, length))
}

fn origin(kind: u8, bytes: &[u8]) -> Option<Origin> {
    let datagram = kind & 0x0f == 2;
    if kind >> 4 == 3 {
        let (source, destination) = bytes.split_at(PATH);
        return Some(Origin::Unix {
            source: path(source),
            destination: path(destination),
            datagram,
        });
    }
    let (ports, addresses) = bytes.split_last_chunk::<4>().map(|(a, p)| (p, a))?;
    let (source, destination) = addresses.split_at(addresses.len() / 2);
    let socket = |address, port: [u8; 2]| -> Option<SocketAddr> {
        Some(SocketAddr::new(ip(address)?, u16::from_be_bytes(port)))
    };
    Some(Origin::Inet {
        source: socket(source, [ports[0], ports[1]])?,
        destination: socket(destination, [ports[2], ports[3]])?,
        datagram,
    })
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    match <[u8; 4]>::try_from(bytes) {
        Ok(bytes) => Some(Ipv4Addr::from(bytes).into()),
        Err(_) => <[u8; 16]>::try_from(bytes)
            .ok()
            .map(|bytes| Ipv6Addr::from(bytes).into()),
    }
}

/// Up to its padding; an abstract name begins with a zero of its own.
fn path(bytes: &[u8]) -> Vec<u8> {
    let end = bytes.iter().rposition(|byte| *byte != 0);
    end.map_or_else(Vec::new, |end| bytes[..=end].to_vec())
}
