//! Control messages (cmsg(3)): which address was asked, how long the datagrams are that were merged.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::name::mapped;

/// The header of a control message: its length, level and type.
const HEADER: usize = size_of::<libc::cmsghdr>();
/// An address of IPv6 and a length, each with its header, and room to spare.
const ROOM: usize = 128;

/// Room for control messages, aligned as the kernel wants it.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
pub(super) struct Control([u8; ROOM]);

impl Default for Control {
    fn default() -> Self {
        Self([0; ROOM])
    }
}

impl Control {
    /// All of the room.
    pub(super) fn room(&mut self) -> &mut [u8] {
        &mut self.0
    }

    /// The address that a datagram was sent to.
    pub(super) fn asked(&self, length: usize) -> Option<IpAddr> {
        self.messages(length)
            .find_map(|(level, kind, data)| match (level, kind) {
                // ipi_ifindex, ipi_spec_dst, ipi_addr: the last is what the packet said.
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    let ip = data.get(8..)?.first_chunk::<4>()?;
                    Some(Ipv4Addr::from(*ip).into())
                }
                // ipi6_addr, ipi6_ifindex
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    let ip = data.first_chunk::<16>()?;
                    Some(Ipv6Addr::from(*ip).into())
                }
                _ => None,
            })
    }

    /// How long the datagrams are that were merged.
    pub(super) fn segment(&self, length: usize) -> Option<usize> {
        self.messages(length)
            .find_map(|(level, kind, data)| match (level, kind) {
                (libc::SOL_UDP, libc::UDP_GRO) => {
                    let segment = i32::from_ne_bytes(*data.first_chunk()?);
                    usize::try_from(segment).ok().filter(|length| *length > 0)
                }
                _ => None,
            })
    }

    fn messages(&self, length: usize) -> impl Iterator<Item = (i32, i32, &[u8])> {
        let mut rest = &self.0[..length.min(ROOM)];
        std::iter::from_fn(move || {
            let length = usize::from_ne_bytes(*rest.first_chunk()?);
            let level = i32::from_ne_bytes(*rest.get(8..)?.first_chunk()?);
            let kind = i32::from_ne_bytes(*rest.get(12..)?.first_chunk()?);
            let data = rest.get(HEADER..length)?;
            rest = rest.get(length.next_multiple_of(8)..).unwrap_or_default();
            Some((level, kind, data))
        })
    }

    /// Says from which address of ours a datagram leaves to a client, and how long each of those is that the kernel
    /// is to make of it (0: it is one). The room that was taken.
    pub(super) fn write(
        &mut self,
        from: Option<(IpAddr, SocketAddr)>,
        segment: usize,
    ) -> &mut [u8] {
        let mut at = 0;
        match from {
            Some((IpAddr::V4(ip), SocketAddr::V4(_))) => {
                // By whichever interface leads to the client.
                let mut data = [0; 12];
                data[4..8].copy_from_slice(&ip.octets());
                self.put(&mut at, libc::IPPROTO_IP, libc::IP_PKTINFO, &data);
            }
            Some((ip, SocketAddr::V6(client))) => {
                let mut data = [0; 20];
                data[..16].copy_from_slice(&mapped(ip).octets());
                // Only a link-local address needs its interface, which is that of the client.
                data[16..].copy_from_slice(&client.scope_id().to_ne_bytes());
                self.put(&mut at, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &data);
            }
            _ => {}
        }
        if segment > 0 {
            let segment = (segment as u16).to_ne_bytes();
            self.put(&mut at, libc::SOL_UDP, libc::UDP_SEGMENT, &segment);
        }
        &mut self.0[..at]
    }

    fn put(&mut self, at: &mut usize, level: i32, kind: i32, data: &[u8]) {
        let length = HEADER + data.len();
        let message = &mut self.0[*at..*at + length.next_multiple_of(8)];
        message.fill(0);
        message[..8].copy_from_slice(&length.to_ne_bytes());
        message[8..12].copy_from_slice(&level.to_ne_bytes());
        message[12..16].copy_from_slice(&kind.to_ne_bytes());
        message[HEADER..length].copy_from_slice(data);
        *at += message.len();
    }
}

/// The layout of 64-bit systems.
const _: () = assert!(HEADER == 16 && size_of::<usize>() == 8);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut control = Control::default();
        let client = "[fe80::2%7]:9".parse().expect("it is an address");
        let ours: IpAddr = "fe80::1".parse().expect("it is an address");
        let length = control.write(Some((ours, client)), 1200).len();
        assert_eq!(length, 64);
        assert_eq!(control.asked(length), Some(ours));
        assert_eq!(control.asked(length - 30), None);
        assert_eq!(control.write(None, 0).len(), 0);
    }
}
