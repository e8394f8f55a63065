//! Sockets for datagrams (UDP).

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::inherited::{Inherited, Transport};
use super::options::set_transparent;
use super::{Address, ListenOptions};

/// The UDP sockets of one listener, open for as long as it is wanted.
#[derive(Debug)]
pub struct BoundDatagram {
    address: Address,
    /// Each has its own queue of waiting datagrams.
    sockets: Vec<Socket>,
}

/// A thread that waits for a datagram looks up so often, to see whether it is to go.
const LOOK: Duration = Duration::from_millis(200);

/// Binds one listener for so many workers, with a socket for each; they block, for a fifth of a
/// second at most.
///
/// `held` says whether this process has sockets at this address already; else nobody may have. What is
/// inherited is taken as it is: another socket would get datagrams at once, while the predecessor
/// still serves, and they would be lost if the hand-over failed.
///
/// # Errors
/// When it cannot be bound, above all because somebody else has the port.
pub fn bind_datagram(
    name: &str,
    address: SocketAddr,
    options: &ListenOptions,
    workers: usize,
    held: bool,
    inherited: &mut Inherited,
) -> io::Result<BoundDatagram> {
    let wanted = Address::Tcp(address);
    let claimed = inherited.claim_of(Transport::Datagram, name, &wanted, options);
    let mut sockets: Vec<Socket> = claimed.into_iter().map(|one| one.socket).collect();
    if sockets.is_empty() {
        // SO_REUSEPORT would let us share the port with a stranger without a word.
        if address.port() != 0 && !held {
            socket(address, options, false)?;
        }
        let first = socket(address, options, true)?;
        let bound = first.local_addr()?.as_socket().unwrap_or(address);
        sockets.push(first);
        while sockets.len() < workers.max(1) {
            sockets.push(socket(bound, options, true)?);
        }
    }
    for socket in &sockets {
        if options.transparent {
            // For those that somebody else has bound, too.
            set_transparent(&SockRef::from(socket), address.is_ipv6())?;
        }
        socket.set_nonblocking(false)?;
        socket.set_read_timeout(Some(LOOK))?;
    }
    let bound = sockets[0].local_addr()?.as_socket().unwrap_or(address);
    Ok(BoundDatagram {
        address: Address::Tcp(bound),
        sockets,
    })
}

fn socket(address: SocketAddr, options: &ListenOptions, share: bool) -> io::Result<Socket> {
    let domain = Domain::for_address(address);
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_port(share)?;
    if address.is_ipv6() {
        socket.set_only_v6(!options.dual_stack)?;
    }
    if options.transparent {
        set_transparent(&SockRef::from(&socket), address.is_ipv6())?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

impl BoundDatagram {
    /// What it is bound to.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// A handle for each worker; more than asked for when more sockets were inherited, because
    /// datagrams wait in each.
    ///
    /// # Errors
    /// When there are no descriptors left.
    pub fn for_workers(&self, workers: usize) -> io::Result<Vec<UdpSocket>> {
        let count = workers.max(self.sockets.len());
        let sockets = (0..count).map(|at| &self.sockets[at % self.sockets.len()]);
        sockets
            .map(|socket| Ok(socket.try_clone()?.into()))
            .collect()
    }

    /// Sets how many octets wait for a worker; the kernel gives at most what `net.core.rmem_max` says.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn set_receive_buffer(&self, octets: usize) -> io::Result<()> {
        self.sockets
            .iter()
            .try_for_each(|socket| socket.set_recv_buffer_size(octets))
    }

    /// Every socket, for a hand-over.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.sockets.iter().map(Socket::as_fd)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{InheritedSocket, Source};

    fn anew(address: &str, inherited: &mut Inherited) -> io::Result<BoundDatagram> {
        let options = ListenOptions::default();
        bind_datagram(
            "dns",
            address.parse().unwrap(),
            &options,
            2,
            false,
            inherited,
        )
    }

    #[test]
    fn sockets_share_a_port_with_each_other_but_with_nobody_else() {
        let bound = anew("127.0.0.1:0", &mut Inherited::default()).unwrap();
        assert_eq!(bound.descriptors().count(), 2);
        let address = bound.address().to_string();
        let error = anew(&address, &mut Inherited::default()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn inherited_sockets_are_taken_with_what_waits_in_them() {
        let old = anew("127.0.0.1:0", &mut Inherited::default()).unwrap();
        let address = old.address().tcp().unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.send_to(b"hello", address).unwrap();
        let passed = old.descriptors().map(|socket| {
            let socket = socket.try_clone_to_owned().unwrap();
            InheritedSocket::new("dns", None, socket, Source::Predecessor, false).unwrap()
        });
        let mut inherited: Inherited = passed.collect();
        let new = anew(&address.to_string(), &mut inherited).unwrap();
        drop(old);
        let workers = new.for_workers(1).unwrap();
        assert_eq!(workers.len(), 2, "no socket is left out");
        let mut buffer = [0; 16];
        let received = workers
            .iter()
            .find_map(|socket| socket.recv(&mut buffer).ok());
        assert_eq!(received, Some(5));
    }
}
