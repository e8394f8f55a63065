//! The life of a connection, from the moment that it is accepted.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chassis::net::proxy_protocol::{Tlvs, encode_v1, encode_v2};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::connect::{Wanted, connect};
use super::first_bytes::FirstBytes;
use super::{Ending, Shared};
use crate::admission::Permit;
use crate::balance::{Counted, Flow, Lease};
use crate::config::ProxyVersion;
use crate::connection_log::Event;
use crate::forward::Transport;
use crate::relay::{Moved, relay, reset};
use crate::sniff::ServerName;
use crate::state::{ClusterState, ListenerState};

/// A connection that was accepted.
pub(super) struct Connection {
    pub(super) stream: TcpStream,
    pub(super) peer: SocketAddr,
    pub(super) listener: Arc<ListenerState>,
    pub(super) shared: Arc<Shared>,
}

/// Where a connection comes from and goes to, as far as it is known.
#[derive(Debug)]
struct Known {
    client: SocketAddr,
    /// What the client has connected to; the listener's address until it is known better.
    service: SocketAddr,
    name: Option<ServerName>,
    cluster: Option<Arc<ClusterState>>,
    endpoint: Option<SocketAddr>,
    /// Until an endpoint had it.
    setup: Option<Duration>,
}

/// Everything that a relay needs.
struct Joined {
    endpoint: TcpStream,
    lease: Lease,
    /// What goes to the endpoint first.
    early: Vec<u8>,
}

impl Connection {
    /// Serves it to its end.
    pub(super) async fn serve(self) {
        let begun = Instant::now();
        let moved = Moved::default();
        self.listener.counts.accepted();
        self.shared.pressure.begin();
        let mut known = Known {
            client: self.peer,
            service: self.listener.address,
            name: None,
            cluster: None,
            endpoint: None,
            setup: None,
        };
        let Self {
            mut stream,
            listener,
            shared,
            ..
        } = self;
        let ending = carry(&mut stream, &listener, &shared, &mut known, begun, &moved).await;
        let (up, down) = (moved.up.get(), moved.down.get());
        listener.counts.ended(ending, up, down);
        let duration = begun.elapsed();
        if let Some(setup) = known.setup {
            listener.counts.set_up(setup);
        }
        shared
            .pressure
            .end(known.setup.unwrap_or(duration), ending.failed());
        if let Some(log) = &shared.state.load().connection_log {
            let event = Event {
                listener: &listener.name,
                client: known.client,
                service: known.service,
                name: known.name.as_ref().map(ServerName::as_str),
                cluster: known.cluster.as_ref().map(|cluster| &*cluster.name),
                endpoint: known.endpoint,
                ending,
                up,
                down,
                setup: known.setup,
                duration,
            };
            event.log(log);
        }
    }
}

async fn carry(
    stream: &mut TcpStream,
    listener: &ListenerState,
    shared: &Shared,
    known: &mut Known,
    begun: Instant,
    moved: &Moved,
) -> Ending {
    let _seat = match shared.open.take(shared.state.load().connections) {
        Some(seat) => seat,
        None => return refuse(stream, Ending::ProcessFull),
    };
    let mut permit = match listener.admission.admit(&listener.limits, begun) {
        Ok(permit) => permit,
        Err(full) => return refuse(stream, full.into()),
    };
    let joined = match join(stream, listener, known, &mut permit).await {
        Ok(joined) => joined,
        Err(ending) => return refuse(stream, ending),
    };
    known.setup = Some(begun.elapsed());
    let Joined {
        mut endpoint,
        lease,
        early,
    } = joined;
    let end = relay(
        stream,
        &mut endpoint,
        early,
        &listener.timeouts.relay,
        moved,
    )
    .await;
    let counts = &lease.endpoint().counts;
    counts.add(Counted::Up, moved.up.get());
    counts.add(Counted::Down, moved.down.get());
    end.into()
}

/// Ends a connection that nobody serves, so that the client knows.
fn refuse(stream: &TcpStream, ending: Ending) -> Ending {
    reset(stream);
    ending
}

/// Finds out where the connection goes, and connects it.
async fn join(
    stream: &mut TcpStream,
    listener: &ListenerState,
    known: &mut Known,
    permit: &mut Permit,
) -> Result<Joined, Ending> {
    let mut first = FirstBytes::default();
    let patience = listener.timeouts.first_bytes;
    let reading = listen(stream, listener, known, permit, &mut first);
    timeout(patience, reading)
        .await
        .unwrap_or(Err(Ending::Slow))?;
    let cluster = listener.routing.cluster(known.name.as_ref());
    let cluster = known
        .cluster
        .insert(cluster.ok_or(Ending::NoRoute)?.clone());
    let hash = cluster.cluster.hash(|| Flow {
        transport: Transport::Tcp,
        client: known.client,
        service: known.service,
    });
    let wanted = Wanted {
        listener,
        cluster,
        hash,
        client: known.client,
    };
    let (endpoint, lease) = connect(wanted).await?;
    known.endpoint = Some(lease.endpoint().address);
    let rest = first.into_rest();
    let early = match cluster.proxy_protocol {
        None => rest,
        Some(version) => [header(version, known), rest].concat(),
    };
    Ok(Joined {
        endpoint,
        lease,
        early,
    })
}

/// Reads what the connection begins with.
async fn listen(
    stream: &TcpStream,
    listener: &ListenerState,
    known: &mut Known,
    permit: &mut Permit,
    first: &mut FirstBytes,
) -> Result<(), Ending> {
    // Of a wildcard, and where the kernel leads other addresses here, each connection has its own.
    if (listener.address.ip().is_unspecified()
        || listener.transparent
        || listener.address.port() == 0)
        && let Ok(service) = stream.local_addr()
    {
        known.service = service;
    }
    if let Some((client, service)) = first.origin(stream, listener, known.client).await? {
        known.client = client;
        known.service = service;
    }
    let client = known.client.ip();
    if !listener.lets_in(client) {
        return Err(Ending::Denied);
    }
    permit.claim(client, &listener.limits)?;
    if listener.routing.by_name() {
        known.name = first.name(stream).await?;
    }
    Ok(())
}

/// The PROXY header that an endpoint gets.
fn header(version: ProxyVersion, known: &Known) -> Vec<u8> {
    let (client, service) = (known.client, known.service);
    match version {
        ProxyVersion::V1 => encode_v1(client, service),
        ProxyVersion::V2 => {
            let name = known.name.as_ref();
            let tlvs = Tlvs {
                authority: name.map(|name| name.as_str().to_owned()),
                ..Tlvs::default()
            };
            encode_v2(client, service, &tlvs).expect("a host name fits into a header")
        }
    }
}
