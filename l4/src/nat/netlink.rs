//! The kernel's packet filter over netlink (RFC 3549): lists and deletions. Loading rules is the work of `nft`.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::retry_on_intr;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
};

/// What is asked of the packet filter: which part of it, and what of that.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    /// The part: nf_tables, conntrack.
    pub(super) subsystem: u8,
    /// What that is to do.
    pub(super) what: u8,
    /// Of which family of addresses.
    pub(super) family: u8,
}

/// A socket that speaks with the packet filter of the network namespace that it was made in.
#[derive(Debug)]
pub(super) struct Netlink {
    socket: OwnedFd,
    sequence: u32,
}

impl Netlink {
    pub(super) fn open() -> io::Result<Self> {
        let (family, kind) = (AddressFamily::NETLINK, SocketType::RAW);
        let socket = socket_with(family, kind, SocketFlags::CLOEXEC, Some(netlink::NETFILTER))?;
        set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
        Ok(Self {
            socket,
            sequence: 0,
        })
    }

    /// Everything of a kind: the attributes of each.
    pub(super) fn dump(
        &mut self,
        request: Request,
        attributes: &[u8],
        mut each: impl FnMut(&[u8]),
    ) -> io::Result<()> {
        self.ask(request, DUMP, attributes)?;
        self.answers(|body| each(body))
    }

    /// Does something to one thing.
    pub(super) fn execute(&mut self, request: Request, attributes: &[u8]) -> io::Result<()> {
        self.ask(request, ACKNOWLEDGE, attributes)?;
        self.answers(|_| ())
    }

    fn ask(&mut self, request: Request, flags: u16, attributes: &[u8]) -> io::Result<()> {
        self.sequence += 1;
        let kind = u16::from(request.subsystem) << 8 | u16::from(request.what);
        let mut message = Vec::with_capacity(HEAD + attributes.len());
        message.extend(((HEAD + attributes.len()) as u32).to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend((REQUEST | flags).to_ne_bytes());
        message.extend(self.sequence.to_ne_bytes());
        // From whom: the kernel knows. Then the family, and a version and a resource that are 0.
        message.extend([0; 4]);
        message.extend([request.family, 0, 0, 0]);
        message.extend(attributes);
        send(&self.socket, &message, SendFlags::empty())?;
        Ok(())
    }

    fn answers(&self, mut each: impl FnMut(&[u8])) -> io::Result<()> {
        let mut buffer = vec![0; BUFFER];
        loop {
            let (length, _) =
                retry_on_intr(|| recv(&self.socket, &mut *buffer, RecvFlags::empty()))?;
            let mut rest = &buffer[..length];
            while let Some((message, next)) = split(rest) {
                rest = next;
                if word(message, 8) != Some(self.sequence) {
                    continue;
                }
                match word(message, 4).map(|word| word as u16) {
                    Some(DONE) => return Ok(()),
                    Some(ERROR) => return outcome(message),
                    _ => each(message.get(HEAD..).unwrap_or_default()),
                }
            }
        }
    }
}

/// An attribute.
pub(super) fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(4 + value.len().next_multiple_of(4));
    bytes.extend((4 + value.len() as u16).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// The value of the first attribute of a kind.
pub(super) fn find(attributes: &[u8], kind: u16) -> Option<&[u8]> {
    let mut rest = attributes;
    while let (Some(length), Some(of)) = (half(rest, 0), half(rest, 2)) {
        let value = rest.get(4..length.into())?;
        if of & KIND == kind {
            return Some(value);
        }
        rest = rest.get(usize::from(length).next_multiple_of(4)..)?;
    }
    None
}

/// The first message and the rest.
fn split(messages: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = word(messages, 0)? as usize;
    let message = messages
        .get(..length)
        .filter(|message| message.len() >= 16)?;
    let next = length.next_multiple_of(4).min(messages.len());
    Some((message, &messages[next..]))
}

/// What a message says that ends without a list: an error of the kernel, or none.
fn outcome(message: &[u8]) -> io::Result<()> {
    match word(message, 16).map(|word| (word as i32).wrapping_neg()) {
        Some(0) => Ok(()),
        Some(errno) => Err(io::Error::from_raw_os_error(errno)),
        None => Err(io::ErrorKind::InvalidData.into()),
    }
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at + 2)?;
    Some(u16::from_ne_bytes(bytes.try_into().ok()?))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + 4)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

/// Of a message's head and the family behind it, in bytes.
const HEAD: usize = 20;
/// What the kernel puts into one datagram at most is 32 KiB.
const BUFFER: usize = 64 * 1024;
/// The kernel answers at once; a list that it never ends would otherwise hold a thread for ever.
const PATIENCE: Duration = Duration::from_secs(10);
const REQUEST: u16 = 1;
const ACKNOWLEDGE: u16 = 4;
const DUMP: u16 = 0x300;
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// The bits of an attribute's type that are not flags.
const KIND: u16 = 0x3FFF;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_found_among_others() {
        let mut bytes = attribute(1, b"odd");
        bytes.extend(attribute(2 | 0x8000, &attribute(7, &[1, 2, 3, 4])));
        assert_eq!(find(&bytes, 1), Some(&b"odd"[..]));
        let inner = find(&bytes, 2).and_then(|inner| find(inner, 7));
        assert_eq!(inner, Some(&[1, 2, 3, 4][..]));
        assert_eq!(find(&bytes, 3), None);
    }

    #[test]
    fn lengths_that_lie_end_the_search() {
        assert_eq!(find(&[0, 0, 0, 0, 0, 0, 0, 0], 3), None);
        assert_eq!(find(&[255, 255, 3, 0], 3), None);
        assert!(split(&[4, 0, 0, 0, 0, 0]).is_none());
        assert!(split(&[255; 32]).is_none());
    }
}
