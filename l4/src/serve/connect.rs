//! From a cluster to a connection with one of its endpoints.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use chassis::net::is_exhaustion;
use socket2::SockRef;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, sleep, timeout_at};

use super::Ending;
use crate::balance::{Counted, Endpoint, Lease};
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
    let mut tried = Vec::new();
    let mut failed = false;
    while let Some(at) = cluster.pick(wanted.hash, &tried) {
        tried.push(at);
        let endpoint: &Arc<Endpoint> = &cluster.endpoints()[at];
        let Some(lease) = endpoint.lease() else {
            endpoint.counts.add(Counted::Full, 1);
            continue;
        };
        let limit = deadline.min(Instant::now() + *connect_timeout);
        let connecting = timeout_at(limit, open_patiently(wanted, endpoint.address));
        match connecting
            .await
            .unwrap_or(Err(io::ErrorKind::TimedOut.into()))
        {
            Ok(stream) => {
                endpoint.counts.add(Counted::Connected, 1);
                return Ok((stream, lease));
            }
            Err(error) => {
                failed = true;
                endpoint.counts.add(Counted::Failed, 1);
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

/// Connects as soon as there is a descriptor for it: that there is none is not the endpoint's fault.
async fn open_patiently(wanted: Wanted<'_>, endpoint: SocketAddr) -> io::Result<TcpStream> {
    loop {
        match open(wanted, endpoint).await {
            Err(error) if is_exhaustion(&error) => sleep(PAUSE).await,
            outcome => return outcome,
        }
    }
}

/// After a failure for want of descriptors.
const PAUSE: Duration = Duration::from_millis(20);

async fn open(wanted: Wanted<'_>, endpoint: SocketAddr) -> io::Result<TcpStream> {
    if !wanted.listener.transparent {
        return socket(wanted.listener, endpoint)?.connect(endpoint).await;
    }
    let mut client = wanted.client;
    // As the client of an IPv6 listener that takes IPv4 clients too.
    client.set_ip(client.ip().to_canonical());
    let socket = socket(wanted.listener, endpoint)?;
    let spoken = speak_for(&socket, client);
    match connected(spoken, socket, endpoint).await {
        Err(error) if is_taken(&error) => {}
        outcome => return outcome,
    }
    // The client has a connection from this port that leads to this endpoint already, by way of another address.
    client.set_port(0);
    let socket = self::socket(wanted.listener, endpoint)?;
    let spoken = speak_for(&socket, client);
    connected(spoken, socket, endpoint).await
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
