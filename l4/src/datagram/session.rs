//! A session: a client's datagrams, and the socket that takes them to an endpoint.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Instant;

use chassis::net::{receive_merged, travel_whole};
use socket2::{Domain, Protocol, Socket, Type};

use super::ids::Id;
use crate::balance::{Endpoint, Lease};
use crate::sniff::{ServerName, short_header};

/// Where sessions go.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) endpoint: Arc<Endpoint>,
    /// What its client has asked for.
    pub(super) name: Option<ServerName>,
}

impl PartialEq for Target {
    fn eq(&self, other: &Self) -> bool {
        // Connections for several names may share a session.
        self.endpoint.address == other.endpoint.address
    }
}

/// A session.
pub(super) struct Session {
    /// Connected to the endpoint.
    pub(super) socket: UdpSocket,
    pub(super) target: Arc<Target>,
    /// Of the events of its socket.
    pub(super) token: u64,
    /// Connection ids that lead to its endpoint because of it, the latest last.
    pub(super) ids: Vec<Id>,
    pub(super) begun: Instant,
    pub(super) up: u64,
    pub(super) down: u64,
    pub(super) lease: Lease,
    pub(super) _permit: Box<dyn Send>,
}

impl Session {
    /// The connection id of a datagram with a short header, when it is known to be of this session.
    pub(super) fn id_of(&self, datagram: &[u8]) -> Option<Id> {
        // The latest: connections that have begun before may have ended.
        let latest = self.ids.iter().rev().take(LOOKED_AT);
        latest.copied().find(|id| {
            let octets = id.octets();
            short_header(datagram, octets.len()) == Some(octets)
        })
    }
}

/// So many of a session's connection ids are looked at for each datagram; others are found where all are.
const LOOKED_AT: usize = 8;

/// How the socket of a session is to be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Connecting {
    pub(super) endpoint: SocketAddr,
    /// The client, when the endpoint is to see its address.
    pub(super) speak_for: Option<SocketAddr>,
    pub(super) quic: bool,
}

/// So many octets wait for this process; the kernel gives at most what `net.core.rmem_max` says. An endpoint sends
/// what a congestion window has at once.
const RECEIVE_BUFFER: usize = 1 << 20;

impl Connecting {
    /// Opens the socket.
    ///
    /// # Errors
    /// When there are no descriptors or ports left, or no route.
    pub(super) fn connect(self) -> io::Result<UdpSocket> {
        let domain = Domain::for_address(self.endpoint);
        let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        if let Some(client) = self.speak_for {
            speak_for(&socket, client)?;
        }
        // A smaller one than was asked for does as well.
        let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
        socket.connect(&self.endpoint.into())?;
        let socket = UdpSocket::from(socket);
        receive_merged(&socket)?;
        if self.quic {
            // Clients try how long a datagram may be (RFC 9000, 14.3): one that was cut would deceive them.
            travel_whole(&socket, true)?;
        }
        Ok(socket)
    }
}

/// Gives a socket the address of a client, which is not ours (`IP_TRANSPARENT`, ip(7)).
fn speak_for(socket: &Socket, client: SocketAddr) -> io::Result<()> {
    let client = SocketAddr::new(client.ip().to_canonical(), client.port());
    match client {
        SocketAddr::V4(_) => socket.set_ip_transparent_v4(true)?,
        SocketAddr::V6(_) => socket.set_ip_transparent_v6(true)?,
    }
    // The client may have sessions with several endpoints.
    socket.set_reuse_address(true)?;
    socket.bind(&client.into())
}
