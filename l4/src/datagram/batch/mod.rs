//! Many datagrams with one system call: recvmmsg(2) and sendmmsg(2), merged by the kernel where they are alike
//! (`UDP_GRO`, `UDP_SEGMENT`).
//!
//! ```text
//! receive -> slots of the batch: octets, from whom, to which address, length of a segment
//! send    <- slots again, with another destination: octets are never copied
//! ```
#![allow(
    unsafe_code,
    reason = "neither the standard library nor rustix has recvmmsg and sendmmsg"
)]

mod control;
mod name;

use std::io;
use std::mem;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::ptr;

use self::control::Control;
use self::name::Name;

/// Slots of a batch.
pub(super) const BATCH: usize = 32;
/// The longest datagram, or several that were merged.
const LONGEST: usize = 65_535;
/// Between buffers: were they a power of two apart, all would be in the same few lines of a cache.
const APART: usize = 65;

/// Slots for datagrams on their way. Made once a thread.
pub(super) struct Batch {
    octets: Box<[u8]>,
    names: Box<[Name]>,
    controls: Box<[Control]>,
    slots: [Slot; BATCH],
    used: usize,
    /// Of what is being sent.
    to: Box<[(Name, Control)]>,
}

#[derive(Clone, Copy, Default)]
struct Slot {
    length: usize,
    name: usize,
    control: usize,
    /// What every datagram of it has, but for the last, which may be shorter.
    segment: usize,
    cut: bool,
}

/// Where a slot is to go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outgoing {
    /// The slot.
    pub(super) slot: usize,
    /// To whom, and from which address of ours; none when the socket is connected.
    pub(super) to: Option<(SocketAddr, Option<IpAddr>)>,
}

/// What became of slots that were sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sent {
    /// How many slots of the front were sent or given up.
    pub(super) done: usize,
    /// Datagrams that were given up: the kernel had no room, or none of that length fits.
    pub(super) failed: u64,
    /// The endpoint's machine has answered that nobody listens there; nothing of the slot at `done` was sent.
    pub(super) refused: bool,
}

impl Batch {
    pub(super) fn new() -> Self {
        Self {
            octets: vec![0; (LONGEST + APART) * BATCH].into(),
            names: vec![Name::default(); BATCH].into(),
            controls: vec![Control::default(); BATCH].into(),
            slots: [Slot::default(); BATCH],
            used: 0,
            to: vec![Default::default(); BATCH].into(),
        }
    }

    /// How many slots have something in them.
    pub(super) fn used(&self) -> usize {
        self.used
    }

    /// Empties all slots.
    pub(super) fn clear(&mut self) {
        self.used = 0;
    }

    /// What is in a slot: a datagram, or several.
    pub(super) fn octets(&self, slot: usize) -> &[u8] {
        &self.octets[slot * (LONGEST + APART)..][..self.slots[slot].length]
    }

    /// The datagrams in a slot.
    pub(super) fn datagrams(&self, slot: usize) -> impl Iterator<Item = &[u8]> {
        let octets = self.octets(slot);
        // A datagram without octets is one too.
        let empty = octets.is_empty().then_some(octets);
        let segment = self.slots[slot].segment.max(1);
        empty.into_iter().chain(octets.chunks(segment))
    }

    /// How many datagrams are in a slot.
    pub(super) fn count(&self, slot: usize) -> u64 {
        let Slot {
            length, segment, ..
        } = self.slots[slot];
        length.div_ceil(segment.max(1)).max(1) as u64
    }

    /// How many datagrams and octets are in some slots.
    pub(super) fn amount(&self, outgoing: &[Outgoing]) -> (u64, u64) {
        let amount = outgoing
            .iter()
            .map(|Outgoing { slot, .. }| (self.count(*slot), self.slots[*slot].length as u64));
        amount.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    }

    /// Who has sent it; none when that has no address or no port, or when it did not fit.
    pub(super) fn sender(&self, slot: usize) -> Option<SocketAddr> {
        let Slot { name, cut, .. } = self.slots[slot];
        let sender = self.names[slot].read(name)?;
        (!cut && sender.port() != 0).then_some(sender)
    }

    /// The address that it was sent to, as far as the kernel tells.
    pub(super) fn asked(&self, slot: usize) -> Option<IpAddr> {
        self.controls[slot].asked(self.slots[slot].control)
    }

    /// Takes what is there into slots that are free; which.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when nothing is there; on a connected socket,
    /// [`io::ErrorKind::ConnectionRefused`].
    pub(super) fn receive(&mut self, socket: &UdpSocket) -> io::Result<std::ops::Range<usize>> {
        let from = self.used;
        let mut parts: [libc::iovec; BATCH] = [NO_PART; BATCH];
        // SAFETY: a mmsghdr is plain data, for which zeros are a value (null pointers, no lengths).
        let mut headers: [libc::mmsghdr; BATCH] = unsafe { mem::zeroed() };
        for slot in from..BATCH {
            parts[slot] = part(&mut self.octets[slot * (LONGEST + APART)..][..LONGEST]);
            let message = &mut headers[slot].msg_hdr;
            let name = self.names[slot].room();
            message.msg_name = name.as_mut_ptr().cast();
            message.msg_namelen = name.len() as libc::socklen_t;
            message.msg_iov = &raw mut parts[slot];
            message.msg_iovlen = 1;
            let control = self.controls[slot].room();
            message.msg_control = control.as_mut_ptr().cast();
            message.msg_controllen = control.len() as _;
        }
        // SAFETY: the descriptor is open while `socket` is borrowed. Each header points to a name, a part and a
        // control buffer of this batch or of this function, all of which live and are borrowed by nobody else until
        // the call returns; their lengths are those given.
        let outcome = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                headers[from..].as_mut_ptr(),
                (BATCH - from) as libc::c_uint,
                libc::MSG_DONTWAIT as _,
                ptr::null_mut(),
            )
        };
        let count = usize::try_from(outcome).map_err(|_| io::Error::last_os_error())?;
        for (slot, header) in headers.iter().enumerate().skip(from).take(count) {
            let length = (header.msg_len as usize).min(LONGEST);
            let control = header.msg_hdr.msg_controllen;
            self.slots[slot] = Slot {
                length,
                name: header.msg_hdr.msg_namelen as usize,
                control,
                segment: self.controls[slot].segment(control).unwrap_or(length),
                cut: header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
            };
        }
        self.used = from + count;
        Ok(from..self.used)
    }

    /// Sends slots, in this order, until the endpoint refuses.
    pub(super) fn send(&mut self, socket: &UdpSocket, outgoing: &[Outgoing]) -> Sent {
        let mut sent = Sent::default();
        while sent.done < outgoing.len() && !sent.refused {
            let rest = &outgoing[sent.done..];
            match self.send_some(socket, &rest[..rest.len().min(BATCH)]) {
                Ok(count) => sent.done += count,
                Err(error) => self.not_sent(socket, rest[0], &error, &mut sent),
            }
        }
        sent
    }

    /// Deals with a slot that the kernel did not take.
    #[cold]
    fn not_sent(
        &mut self,
        socket: &UdpSocket,
        outgoing: Outgoing,
        error: &io::Error,
        sent: &mut Sent,
    ) {
        let merged = self.slots[outgoing.slot].length > self.slots[outgoing.slot].segment;
        match error.kind() {
            io::ErrorKind::Interrupted => {}
            io::ErrorKind::ConnectionRefused => sent.refused = true,
            // The path takes no datagrams so long, or its network card cannot split: the kernel cuts each by itself.
            _ if merged && error.kind() != io::ErrorKind::WouldBlock => {
                sent.failed += self.send_apart(socket, outgoing);
                sent.done += 1;
            }
            _ => {
                sent.failed += self.count(outgoing.slot);
                sent.done += 1;
            }
        }
    }

    fn send_some(&mut self, socket: &UdpSocket, outgoing: &[Outgoing]) -> io::Result<usize> {
        let mut pieces = [Piece::default(); BATCH];
        for (piece, outgoing) in pieces.iter_mut().zip(outgoing) {
            let Slot {
                length, segment, ..
            } = self.slots[outgoing.slot];
            *piece = Piece {
                at: outgoing.slot * (LONGEST + APART),
                length,
                segment: if length > segment { segment } else { 0 },
            };
        }
        self.send_pieces(socket, outgoing.iter().map(|one| one.to), &pieces)
    }

    /// Sends each datagram of a slot by itself; how many the kernel did not take.
    fn send_apart(&mut self, socket: &UdpSocket, outgoing: Outgoing) -> u64 {
        let Slot {
            length, segment, ..
        } = self.slots[outgoing.slot];
        let begin = outgoing.slot * (LONGEST + APART);
        let mut failed = 0;
        for at in (0..length).step_by(segment.max(1)) {
            let piece = Piece {
                at: begin + at,
                length: segment.min(length - at),
                segment: 0,
            };
            let outcome = self.send_pieces(socket, std::iter::once(outgoing.to), &[piece]);
            failed += u64::from(outcome.is_err());
        }
        failed
    }

    fn send_pieces(
        &mut self,
        socket: &UdpSocket,
        to: impl Iterator<Item = Option<(SocketAddr, Option<IpAddr>)>>,
        pieces: &[Piece],
    ) -> io::Result<usize> {
        let mut parts: [libc::iovec; BATCH] = [NO_PART; BATCH];
        // SAFETY: as in `receive`.
        let mut headers: [libc::mmsghdr; BATCH] = unsafe { mem::zeroed() };
        let mut count = 0;
        for (to, piece) in to.zip(pieces).take(BATCH) {
            parts[count] = part(&mut self.octets[piece.at..][..piece.length]);
            let message = &mut headers[count].msg_hdr;
            message.msg_iov = &raw mut parts[count];
            message.msg_iovlen = 1;
            let (name, control) = &mut self.to[count];
            let mut from = None;
            if let Some((to, asked)) = to {
                let name = name.write(to);
                message.msg_name = name.as_mut_ptr().cast();
                message.msg_namelen = name.len() as libc::socklen_t;
                from = asked.map(|asked| (asked, to));
            }
            let control = control.write(from, piece.segment);
            if !control.is_empty() {
                message.msg_control = control.as_mut_ptr().cast();
                message.msg_controllen = control.len() as _;
            }
            count += 1;
        }
        // SAFETY: as in `receive`; the kernel only reads what the headers point to.
        let outcome = unsafe {
            libc::sendmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                count as libc::c_uint,
                libc::MSG_DONTWAIT as _,
            )
        };
        usize::try_from(outcome).map_err(|_| io::Error::last_os_error())
    }
}

/// Octets that are sent with one message.
#[derive(Clone, Copy, Default)]
struct Piece {
    at: usize,
    length: usize,
    /// The length of each datagram, when they are several.
    segment: usize,
}

const NO_PART: libc::iovec = libc::iovec {
    iov_base: ptr::null_mut(),
    iov_len: 0,
};

fn part(bytes: &mut [u8]) -> libc::iovec {
    libc::iovec {
        iov_base: bytes.as_mut_ptr().cast(),
        iov_len: bytes.len(),
    }
}

#[cfg(test)]
mod tests;
