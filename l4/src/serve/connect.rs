//! From a cluster to a connection with one of its endpoints.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use chassis::net::is_exhaustion;
use socket2::SockRef;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, sleep, timeout_at};

use super::Ending;
use super::scarcity::{self, Wait};
use crate::balance::{Cluster, Counted, Endpoint, Lease};
use crate::state::{ClusterState, ListenerState};

/// Who a connection is for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    pub(super) listener: &'a ListenerState,
    pub(super) cluster: &'a ClusterState,
    /// What the endpoint is found by.
    pub(super) hash: u64,
    pub(super) client: SocketAddr,
}

/// Connects to the endpoint that the connection is for, or to the next that takes it.
///
/// # Errors
/// [`Ending::NoEndpoint`] when none is well and has room, [`Ending::NotConnected`] when those that are did not take the
/// connection in time.
pub(super) async fn connect(wanted: Wanted<'_>) -> Result<(TcpStream, Lease), Ending> {
    let ClusterState {
        cluster,
        connect_timeout,
        connect_budget,
        ..
    } = wanted.cluster;
    let deadline = Instant::now() + *connect_budget;
    let mut tries = Tries::default();
    let mut failed = false;
    while let Some(at) = tries.next(cluster, wanted.hash, *connect_timeout) {
        let endpoint: &Arc<Endpoint> = &cluster.endpoints()[at];
        let Some(lease) = endpoint.lease() else {
            endpoint.counts.add(Counted::Full, 1);
            continue;
        };
        let limit = deadline.min(Instant::now() + *connect_timeout);
        let lacks = Cell::new(false);
        let connecting = timeout_at(limit, open(wanted, endpoint.address, &lacks));
        match connecting
            .await
            .unwrap_or(Err(io::ErrorKind::TimedOut.into()))
        {
            Ok(stream) => {
                endpoint.counts.add(Counted::Connected, 1);
                endpoint.believe();
                return Ok((stream, lease));
            }
            Err(error) => {
                failed = true;
                tries.failed = true;
                if !lacks.get() {
                    endpoint.counts.add(Counted::Failed, 1);
                    endpoint.doubt(std::time::Instant::now());
                }
                let cluster = &*wanted.cluster.name;
                tracing::debug!(cluster, endpoint = %endpoint.address, %error, "not connected");
            }
        }
        if Instant::now() >= deadline {
            break;
        }
    }
    Err(match failed {
        true => Ending::NotConnected,
        false => Ending::NoEndpoint,
    })
}

/// The endpoints that a connection has come to.
#[derive(Default)]
struct Tries {
    /// Those that it need not come to again.
    seen: Vec<usize>,
    /// Those of them that were passed over: they have just failed others.
    doubted: Vec<usize>,
    /// Whether it has waited in vain for one.
    failed: bool,
}

impl Tries {
    /// The next: of those that have just failed others, one when there is nobody else.
    fn next(&mut self, cluster: &Cluster, hash: u64, patience: Duration) -> Option<usize> {
        while let Some(at) = cluster.pick(hash, &self.seen) {
            self.seen.push(at);
            // Who has waited once does not find out whether another is well again.
            let patience = (!self.failed).then_some(patience);
            let now = std::time::Instant::now();
            if cluster.endpoints()[at].is_believed(patience, now) {
                return Some(at);
            }
            self.doubted.push(at);
        }
        self.doubted.pop()
    }
}

/// After a failure for want of descriptors.
const PAUSE: Duration = Duration::from_millis(20);

/// Connects. `lacks` says whether it waits for a descriptor, which is not the endpoint's fault.
async fn open(
    wanted: Wanted<'_>,
    endpoint: SocketAddr,
    lacks: &Cell<bool>,
) -> io::Result<TcpStream> {
    let listener = wanted.listener;
    if !listener.transparent {
        let socket = socket_in_time(listener, endpoint, lacks).await?;
        return socket.connect(endpoint).await;
    }
    let mut client = wanted.client;
    // As the client of an IPv6 listener that takes IPv4 clients too.
    client.set_ip(client.ip().to_canonical());
    let socket = socket_in_time(listener, endpoint, lacks).await?;
    let spoken = speak_for(&socket, client);
    match connected(spoken, socket, endpoint).await {
        Err(error) if is_taken(&error) => {}
        outcome => return outcome,
    }
    // The client has a connection from this port that leads to this endpoint already, by way of another address.
    client.set_port(0);
    let socket = socket_in_time(listener, endpoint, lacks).await?;
    let spoken = speak_for(&socket, client);
    connected(spoken, socket, endpoint).await
}

/// A socket, as soon as there is a descriptor for it.
async fn socket_in_time(
    listener: &ListenerState,
    endpoint: SocketAddr,
    lacks: &Cell<bool>,
) -> io::Result<TcpSocket> {
    let mut wait = None;
    loop {
        match socket(listener, endpoint) {
            Err(error) if is_exhaustion(&error) => {
                lacks.set(true);
                wait.get_or_insert_with(Wait::begin);
                scarcity::tell(&listener.name, &error);
                sleep(PAUSE).await;
            }
            outcome => {
                lacks.set(false);
                return outcome;
            }
        }
    }
}

async fn connected(
    spoken: io::Result<()>,
    socket: TcpSocket,
    endpoint: SocketAddr,
) -> io::Result<TcpStream> {
    spoken?;
    socket.connect(endpoint).await
}

fn is_taken(error: &io::Error) -> bool {
    use io::ErrorKind::{AddrInUse, AddrNotAvailable};
    matches!(error.kind(), AddrInUse | AddrNotAvailable)
}

fn socket(listener: &ListenerState, endpoint: SocketAddr) -> io::Result<TcpSocket> {
    let socket = match endpoint {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    let tcp = &listener.options.tcp;
    tcp.apply_to_connection(&SockRef::from(&socket))?;
    Ok(socket)
}

/// Gives a socket the address of a client, which is not ours (`IP_TRANSPARENT`, ip(7)).
fn speak_for(socket: &TcpSocket, client: SocketAddr) -> io::Result<()> {
    let options = SockRef::from(socket);
    match client {
        SocketAddr::V4(_) => options.set_ip_transparent_v4(true)?,
        SocketAddr::V6(_) => options.set_ip_transparent_v6(true)?,
    }
    socket.set_reuseaddr(true)?;
    socket.bind(client)
}
