//! Options of sockets for datagrams that neither the standard library nor a crate of ours knows.
#![allow(unsafe_code, reason = "setsockopt of options that are whole numbers")]

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

/// Asks the kernel to tell with each datagram which address it was sent to (`IP_PKTINFO`, `IPV6_RECVPKTINFO`).
///
/// # Errors
/// What the kernel refuses.
pub fn tell_asked_address(socket: &UdpSocket) -> io::Result<()> {
    match socket.local_addr()? {
        SocketAddr::V4(_) => set(socket, libc::IPPROTO_IP, libc::IP_PKTINFO, 1),
        SocketAddr::V6(_) => set(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1),
    }
}

/// Has datagrams travel whole, or not at all, and pays no heed to what strangers say of the path (RFC 9715, 3.1); or
/// lets them be cut, when they may be longer than what goes over any path.
///
/// # Errors
/// What the kernel refuses.
pub fn travel_whole(socket: &UdpSocket, whole: bool) -> io::Result<()> {
    let (level, option, value) = match (socket.local_addr()?, whole) {
        (SocketAddr::V4(_), true) => (
            libc::IPPROTO_IP,
            libc::IP_MTU_DISCOVER,
            libc::IP_PMTUDISC_PROBE,
        ),
        (SocketAddr::V4(_), false) => (
            libc::IPPROTO_IP,
            libc::IP_MTU_DISCOVER,
            libc::IP_PMTUDISC_OMIT,
        ),
        (SocketAddr::V6(_), true) => (
            libc::IPPROTO_IPV6,
            libc::IPV6_MTU_DISCOVER,
            libc::IPV6_PMTUDISC_PROBE,
        ),
        (SocketAddr::V6(_), false) => (
            libc::IPPROTO_IPV6,
            libc::IPV6_MTU_DISCOVER,
            libc::IPV6_PMTUDISC_OMIT,
        ),
    };
    set(socket, level, option, value)
}

/// Has the kernel give datagrams of one sender that have the same length as one, and say how long each is (`UDP_GRO`).
///
/// # Errors
/// What the kernel refuses.
pub fn receive_merged(socket: &UdpSocket) -> io::Result<()> {
    set(socket, libc::SOL_UDP, libc::UDP_GRO, 1)
}

fn set(
    socket: &UdpSocket,
    level: libc::c_int,
    option: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    // SAFETY: the descriptor is open while `socket` is borrowed, and the kernel reads as many bytes of
    // `value` as it is told that there are.
    let outcome = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw const value).cast(),
            size_of_val(&value) as libc::socklen_t,
        )
    };
    match outcome {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
