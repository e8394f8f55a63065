//! Many datagrams with one system call: recvmmsg(2) and sendmmsg(2), with the address that was asked.
//!
//! The only module of this crate with `unsafe`: neither the standard library nor rustix has these calls.
#![allow(unsafe_code, reason = "recvmmsg, sendmmsg and their control messages")]

use std::io;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::ptr;

use chassis::net::tell_asked_address;

/// Datagrams that one call takes.
pub(super) const BATCH: usize = 32;
/// The longest query; a longer one is cut, and then it is no query.
const LONGEST_QUERY: usize = 2048;
/// The longest answer.
pub(super) const LONGEST_ANSWER: usize = 4096;
/// Between buffers: were they a power of two apart, all would be in the same few lines of a cache.
const APART: usize = 64;
/// Room for one control message with an address, aligned as the kernel wants it.
const CONTROL: usize = 64;

#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control([u8; CONTROL]);

/// Buffers for a batch of queries and their answers. Made once a thread.
pub(super) struct Batch {
    queries: Box<[[u8; LONGEST_QUERY + APART]]>,
    /// One after the other: usual answers are short, and so are the way to the next and what all of them take.
    answers: Box<[u8]>,
    /// Where the next answer begins.
    next_answer: usize,
    clients: Box<[libc::sockaddr_storage]>,
    controls: Box<[Control]>,
    received: [Received; BATCH],
    /// Whether the address that was asked is told, and answers leave from there.
    from_asked: bool,
}

#[derive(Clone, Copy, Default)]
struct Received {
    query: usize,
    client: libc::socklen_t,
    control: usize,
    answer_at: usize,
    answer: usize,
}

/// What became of a batch of answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) failed: u64,
}

impl Batch {
    /// Buffers for a socket; `any_address` when it takes what is sent to any address of this machine.
    pub(super) fn new(socket: &UdpSocket, any_address: bool) -> io::Result<Self> {
        if any_address {
            tell_asked_address(socket)?;
        }
        // SAFETY: a sockaddr_storage is plain data, for which zeros are a value (no family).
        let no_address: libc::sockaddr_storage = unsafe { mem::zeroed() };
        Ok(Self {
            queries: vec![[0; LONGEST_QUERY + APART]; BATCH].into(),
            answers: vec![0; LONGEST_ANSWER * BATCH].into(),
            next_answer: 0,
            clients: vec![no_address; BATCH].into(),
            controls: vec![Control([0; CONTROL]); BATCH].into(),
            received: [Received::default(); BATCH],
            from_asked: any_address,
        })
    }

    /// Takes datagrams: waits for the first (unless `at_once`), then takes those that are there; how many.
    pub(super) fn receive(&mut self, socket: &UdpSocket, at_once: bool) -> io::Result<usize> {
        let mut parts: [libc::iovec; BATCH] = [EMPTY_PART; BATCH];
        // SAFETY: a mmsghdr is plain data, for which zeros are a value (null pointers, no lengths).
        let mut headers: [libc::mmsghdr; BATCH] = unsafe { mem::zeroed() };
        for (at, header) in headers.iter_mut().enumerate() {
            parts[at] = part(&mut self.queries[at][..LONGEST_QUERY]);
            let message = &mut header.msg_hdr;
            message.msg_name = (&raw mut self.clients[at]).cast();
            message.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            message.msg_iov = &raw mut parts[at];
            message.msg_iovlen = 1;
            if self.from_asked {
                message.msg_control = self.controls[at].0.as_mut_ptr().cast();
                message.msg_controllen = CONTROL as _;
            }
        }
        let flags = match at_once {
            true => libc::MSG_DONTWAIT,
            false => libc::MSG_WAITFORONE,
        };
        // SAFETY: the descriptor is open while `socket` is borrowed. Each header points to a name, a
        // part and a control buffer of this batch or of this function, all of which live and are borrowed
        // by nobody else until the call returns; their lengths are those given.
        let outcome = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                BATCH as libc::c_uint,
                flags as _,
                ptr::null_mut(),
            )
        };
        let count = usize::try_from(outcome).map_err(|_| io::Error::last_os_error())?;
        for (received, header) in self.received.iter_mut().zip(&headers[..count]) {
            *received = Received {
                query: (header.msg_len as usize).min(LONGEST_QUERY),
                client: header.msg_hdr.msg_namelen,
                control: header.msg_hdr.msg_controllen.min(CONTROL),
                answer_at: 0,
                answer: 0,
            };
        }
        self.next_answer = 0;
        Ok(count)
    }

    /// A query of the batch, and who asks. None of a client without an address.
    pub(super) fn query(&self, at: usize) -> Option<(&[u8], SocketAddr)> {
        let client = address(&self.clients[at], self.received[at].client)?;
        Some((&self.queries[at][..self.received[at].query], client))
    }

    /// The same with the room for its answer. One after the other, each once: the room is what the answers before have left.
    pub(super) fn exchange(&mut self, at: usize) -> Option<(&[u8], SocketAddr, &mut [u8])> {
        let client = address(&self.clients[at], self.received[at].client)?;
        let query = &self.queries[at][..self.received[at].query];
        let room = &mut self.answers[self.next_answer..][..LONGEST_ANSWER];
        Some((query, client, room))
    }

    /// Says how long the answer is that was written last, and to which query; 0 for none.
    pub(super) fn answer(&mut self, at: usize, len: usize) {
        let len = len.min(LONGEST_ANSWER);
        self.received[at].answer_at = self.next_answer;
        self.received[at].answer = len;
        self.next_answer += len;
    }

    /// Sends the answers to the first `count` queries.
    pub(super) fn send(&mut self, socket: &UdpSocket, count: usize) -> Sent {
        let mut parts: [libc::iovec; BATCH] = [EMPTY_PART; BATCH];
        // SAFETY: as in `receive`.
        let mut headers: [libc::mmsghdr; BATCH] = unsafe { mem::zeroed() };
        let mut ready = 0;
        for at in 0..count.min(BATCH) {
            let Received {
                client,
                control,
                answer_at,
                answer,
                ..
            } = self.received[at];
            if answer == 0 {
                continue;
            }
            let control = match self.from_asked {
                true => answer_from_asked(&mut self.controls[at], control),
                false => 0,
            };
            parts[ready] = part(&mut self.answers[answer_at..][..answer]);
            let message = &mut headers[ready].msg_hdr;
            message.msg_name = (&raw mut self.clients[at]).cast();
            message.msg_namelen = client;
            message.msg_iov = &raw mut parts[ready];
            message.msg_iovlen = 1;
            if control > 0 {
                message.msg_control = self.controls[at].0.as_mut_ptr().cast();
                message.msg_controllen = control as _;
            }
            ready += 1;
        }
        let mut sent = Sent::default();
        let mut rest = &mut headers[..ready];
        while !rest.is_empty() {
            // SAFETY: as in `receive`; the kernel only reads what the headers point to.
            let outcome = unsafe {
                libc::sendmmsg(
                    socket.as_raw_fd(),
                    rest.as_mut_ptr(),
                    rest.len() as libc::c_uint,
                    0,
                )
            };
            // An error is the first message's: the others can be sent.
            let done = match usize::try_from(outcome) {
                Ok(done) => done.max(1),
                Err(_) if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => 0,
                Err(_) => {
                    sent.failed += 1;
                    1
                }
            };
            rest = &mut rest[done..];
        }
        sent
    }
}

const EMPTY_PART: libc::iovec = libc::iovec {
    iov_base: ptr::null_mut(),
    iov_len: 0,
};

fn part(bytes: &mut [u8]) -> libc::iovec {
    libc::iovec {
        iov_base: bytes.as_mut_ptr().cast(),
        iov_len: bytes.len(),
    }
}

/// Turns the control message of a query into that of its answer: from the address that was asked, by
/// whichever interface leads to the client. Its length; 0 when there is none.
fn answer_from_asked(control: &mut Control, len: usize) -> usize {
    let data_at = size_of::<libc::cmsghdr>();
    if len < data_at {
        return 0;
    }
    // SAFETY: the buffer is aligned for a cmsghdr and longer than one, which is plain data.
    let header = unsafe { control.0.as_ptr().cast::<libc::cmsghdr>().read() };
    let (data, space) = match (header.cmsg_level, header.cmsg_type) {
        (libc::IPPROTO_IP, libc::IP_PKTINFO) => (size_of::<libc::in_pktinfo>(), data_at + 16),
        (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => (size_of::<libc::in6_pktinfo>(), data_at + 24),
        _ => return 0,
    };
    if len < data_at + data || space > CONTROL {
        return 0;
    }
    let data = &mut control.0[data_at..data_at + data];
    if header.cmsg_level == libc::IPPROTO_IP {
        // ipi_ifindex, ipi_spec_dst, ipi_addr: the second is where the answer leaves from.
        data[..4].fill(0);
    } else if !matches!(data[..2], [0xFE, 0x80..=0xBF]) {
        // ipi6_addr, ipi6_ifindex: only a link-local address needs its interface.
        data[16..20].fill(0);
    }
    space
}

/// Who has sent a datagram.
fn address(storage: &libc::sockaddr_storage, len: libc::socklen_t) -> Option<SocketAddr> {
    let from: *const libc::sockaddr_storage = storage;
    match (i32::from(storage.ss_family), len as usize) {
        (libc::AF_INET, len) if len >= size_of::<libc::sockaddr_in>() => {
            // SAFETY: a sockaddr_storage is aligned and long enough for every address, and its family
            // says that this is one of IPv4.
            let address = unsafe { from.cast::<libc::sockaddr_in>().read() };
            let ip = Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr));
            Some(SocketAddr::new(ip.into(), u16::from_be(address.sin_port)))
        }
        (libc::AF_INET6, len) if len >= size_of::<libc::sockaddr_in6>() => {
            // SAFETY: as above, of IPv6.
            let address = unsafe { from.cast::<libc::sockaddr_in6>().read() };
            let ip = IpAddr::V6(Ipv6Addr::from(address.sin6_addr.s6_addr));
            Some(SocketAddr::new(
                ip.to_canonical(),
                u16::from_be(address.sin6_port),
            ))
        }
        _ => None,
    }
}
