//! The life of a connection, from the moment that it is accepted.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use chassis::net::proxy_protocol::{ProxyHeader, Tlvs, encode_v1, encode_v2};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::connect::{Wanted, connect};
use super::first_bytes::FirstBytes;
use super::secured::{self, Secured, secure};
use super::served::{Known, Served};
use super::{Ending, Shared, beat};
use crate::admission::Permit;
use crate::balance::{Counted, Flow, Lease};
use crate::config::ProxyVersion;
use crate::draining::Member;
use crate::forward::Transport;
use crate::relay::{End, Moved, relay, relay_sealed, reset};
use crate::sniff::ServerName;
use crate::state::{ClusterState, ListenerState};

/// A connection that was accepted.
pub(super) struct Connection {
    pub(super) stream: TcpStream,
    pub(super) peer: SocketAddr,
    pub(super) listener: Arc<ListenerState>,
    pub(super) shared: Arc<Shared>,
}

impl Connection {
    /// Serves it to its end.
    pub(super) async fn serve(self) {
        let Self {
            mut stream,
            peer,
            listener,
            shared,
        } = self;
        beat::keep();
        let mut served = Served::begin(peer, listener, shared);
        served.ending = Some(carry(&mut stream, &mut served).await);
    }
}

async fn carry(stream: &mut TcpStream, served: &mut Served) -> Ending {
    let begun = served.begun;
    let Served {
        listener,
        shared,
        known,
        moved,
        ..
    } = served;
    if let Err(ending) = may_enter(listener, known.client.ip()) {
        return refuse(stream, ending);
    }
    let _seat = match shared.open.take(shared.state.load().connections) {
        Some(seat) => seat,
        None => return refuse(stream, Ending::ProcessFull),
    };
    let mut permit = match listener.admission.admit(&listener.limits, begun) {
        Ok(permit) => permit,
        Err(full) => return refuse(stream, full.into()),
    };
    let mut first = FirstBytes::default();
    let reading = listen(stream, listener, known, &mut permit, &mut first);
    let patience = listener.timeouts.first_bytes;
    let read = timeout(patience, reading).await;
    if let Err(ending) = read.unwrap_or(Err(Ending::Slow)) {
        return refuse(stream, ending);
    }
    let Some(target) = listener.routing.target(known.name.as_ref()) else {
        return refuse(stream, Ending::NoRoute);
    };
    known.cluster = Some(target.cluster.clone());
    let joining = Joining {
        listener,
        shared,
        cluster: &target.cluster,
        begun,
        moved,
    };
    match &target.tls {
        None => joining.pass(stream, known, first.into_rest()).await,
        Some(terminator) => {
            let left = patience.saturating_sub(begun.elapsed());
            let early = first.into_rest();
            // On the heap, for it is large, and most connections never need it.
            let securing = Box::pin(secure(terminator, stream, early, known.client, left));
            match securing.await {
                Ok(secured) => Box::pin(joining.open(secured, known)).await,
                Err(ending @ Ending::Handshake) => ending,
                Err(ending) => refuse(stream, ending),
            }
        }
    }
}

/// A connection of which it is known where it goes.
#[derive(Clone, Copy)]
struct Joining<'a> {
    listener: &'a ListenerState,
    shared: &'a Shared,
    cluster: &'a ClusterState,
    begun: Instant,
    moved: &'a Moved,
}

impl Joining<'_> {
    /// Relays bytes as they are.
    async fn pass(self, stream: &mut TcpStream, known: &mut Known, rest: Vec<u8>) -> Ending {
        let (mut endpoint, lease) = match self.connect(known).await {
            Ok(connected) => connected,
            Err(ending) => return refuse(stream, ending),
        };
        let header = self.header(known, Tlvs::default()).unwrap_or_default();
        let ours = header.len();
        let early = match ours {
            0 => rest,
            _ => [header, rest].concat(),
        };
        let limits = &self.listener.timeouts.relay;
        let mut drains = self.drains(&lease);
        let end = relay(
            stream,
            &mut endpoint,
            early,
            limits,
            self.moved,
            &mut drains,
        );
        self.end(&lease, ours, end.await)
    }

    /// Relays what is in TLS.
    async fn open(self, mut secured: Secured<'_>, known: &mut Known) -> Ending {
        if known.name.is_none() {
            let name = secured::name(&secured);
            known.name = name.and_then(|name| ServerName::read(name.as_bytes()));
        }
        let (mut endpoint, lease) = match self.connect(known).await {
            Ok(connected) => connected,
            Err(ending) => return refuse(secured.get_ref().0.as_ref(), ending),
        };
        let mut tlvs = Tlvs::default();
        secured::describe(&secured, &mut tlvs);
        let early = self.header(known, tlvs).unwrap_or_default();
        let ours = early.len();
        let limits = &self.listener.timeouts.relay;
        let mut drains = self.drains(&lease);
        let end = relay_sealed(
            &mut secured,
            &mut endpoint,
            early,
            limits,
            self.moved,
            &mut drains,
        );
        self.end(&lease, ours, end.await)
    }

    async fn connect(self, known: &mut Known) -> Result<(TcpStream, Lease), Ending> {
        let hash = self.cluster.cluster.hash(|| Flow {
            transport: Transport::Tcp,
            client: known.client,
            service: known.service,
        });
        let wanted = Wanted {
            listener: self.listener,
            cluster: self.cluster,
            hash,
            client: known.client,
        };
        let connected = connect(wanted).await?;
        known.endpoint = Some(connected.1.endpoint().address);
        known.setup = Some(self.begun.elapsed());
        Ok(connected)
    }

    /// The PROXY header that the endpoint gets, if any.
    fn header(self, known: &Known, tlvs: Tlvs) -> Option<Vec<u8>> {
        let (client, service) = (known.client, known.service);
        Some(match self.cluster.proxy_protocol? {
            ProxyVersion::V1 => encode_v1(client, service),
            ProxyVersion::V2 => {
                let name = known.name.as_ref();
                let tlvs = Tlvs {
                    authority: name.map(|name| name.as_str().to_owned()),
                    ..tlvs
                };
                encode_v2(client, service, &tlvs)
                    .expect("a host name and a protocol fit into a header")
            }
        })
    }

    fn drains(self, lease: &Lease) -> [Member; 2] {
        let endpoint = lease.endpoint();
        [endpoint.draining.join(), self.shared.leaving.join()]
    }

    /// Counts what was carried, without what is `ours`.
    fn end(self, lease: &Lease, ours: usize, end: End) -> Ending {
        let up = &self.moved.up;
        up.set(up.get().saturating_sub(ours as u64));
        let counts = &lease.endpoint().counts;
        counts.add(Counted::Up, self.moved.up.get());
        counts.add(Counted::Down, self.moved.down.get());
        end.into()
    }
}

/// Ends a connection that nobody serves, so that the client knows.
fn refuse(stream: &TcpStream, ending: Ending) -> Ending {
    reset(stream);
    ending
}

/// Refuses who is not let in before a place is taken that others may have. Of whom it takes a PROXY header to know who the
/// client is, it is asked when that is read.
fn may_enter(listener: &ListenerState, peer: IpAddr) -> Result<(), Ending> {
    match listener.proxy_header {
        ProxyHeader::Required if !listener.trusts(peer) => Err(Ending::ProxyHeader),
        ProxyHeader::Required => Ok(()),
        ProxyHeader::Optional if listener.trusts(peer) => Ok(()),
        ProxyHeader::Off | ProxyHeader::Optional => match listener.lets_in(peer) {
            true => Ok(()),
            false => Err(Ending::Denied),
        },
    }
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
