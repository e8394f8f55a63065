//! Addresses as the kernel writes them (sockaddr_in, sockaddr_in6).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

const V4: usize = size_of::<libc::sockaddr_in>();
const V6: usize = size_of::<libc::sockaddr_in6>();

/// Room for an address.
#[repr(C, align(8))]
#[derive(Clone, Copy, Default)]
pub(super) struct Name([u8; V6]);

impl Name {
    /// All of the room.
    pub(super) fn room(&mut self) -> &mut [u8] {
        &mut self.0
    }

    /// Reads an address of this length. One of IPv4 that a socket of IPv6 has got stays as it is: that socket
    /// answers to it.
    pub(super) fn read(&self, length: usize) -> Option<SocketAddr> {
        let bytes = self.0.get(..length)?;
        let family = u16::from_ne_bytes(*bytes.first_chunk()?);
        let port = u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?);
        match i32::from(family) {
            libc::AF_INET => {
                let ip: [u8; 4] = *bytes.get(4..)?.first_chunk()?;
                Some(SocketAddr::from((ip, port)))
            }
            libc::AF_INET6 => {
                let flow = u32::from_ne_bytes(*bytes.get(4..)?.first_chunk()?);
                let ip = Ipv6Addr::from(*bytes.get(8..)?.first_chunk::<16>()?);
                let scope = u32::from_ne_bytes(*bytes.get(24..)?.first_chunk()?);
                Some(SocketAddrV6::new(ip, port, flow, scope).into())
            }
            _ => None,
        }
    }

    /// Writes an address; the room that it has taken.
    pub(super) fn write(&mut self, address: SocketAddr) -> &mut [u8] {
        self.0[2..4].copy_from_slice(&address.port().to_be_bytes());
        match address {
            SocketAddr::V4(address) => {
                self.0[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
                self.0[4..8].copy_from_slice(&address.ip().octets());
                &mut self.0[..V4]
            }
            SocketAddr::V6(address) => {
                self.0[..2].copy_from_slice(&(libc::AF_INET6 as u16).to_ne_bytes());
                self.0[4..8].copy_from_slice(&address.flowinfo().to_ne_bytes());
                self.0[8..24].copy_from_slice(&address.ip().octets());
                self.0[24..].copy_from_slice(&address.scope_id().to_ne_bytes());
                &mut self.0[..V6]
            }
        }
    }
}

/// An address of IPv4 as a socket of IPv6 wants it.
pub(super) fn mapped(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(ip) => Ipv4Addr::to_ipv6_mapped(&ip),
        IpAddr::V6(ip) => ip,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_they_were_written() {
        for text in [
            "192.0.2.1:53",
            "[2001:db8::1]:443",
            "[fe80::1%3]:443",
            "[::ffff:192.0.2.1]:53",
        ] {
            let address: SocketAddr = text.parse().expect("it is an address");
            let mut name = Name::default();
            let length = name.write(address).len();
            assert_eq!(name.read(length), Some(address));
            assert_eq!(name.read(3), None);
        }
        assert_eq!(Name::default().read(V6), None);
    }
}
