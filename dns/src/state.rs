//! What a configuration was compiled to: everything that a query needs, never changed, only replaced.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use chassis::config::{Diagnostic, Place};
use chassis::net::Networks;
use chassis::net::handover::Handover;
use chassis::net::proxy_protocol::ProxyHeader;
use chassis::telemetry::SampledLog;
use chassis::tls::Terminator;

use crate::alias::Resolving;
use crate::answer::Snapshot;
use crate::chooser::Chooser;
use crate::dnssec::{SignedZones, Signing};
use crate::guard::Guard;
use crate::metrics::Transport;
use crate::serve::TcpLimits;
use crate::transfer::Transfers;
use crate::zone::Zone;

/// One compiled configuration.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) snapshot: Arc<Snapshot>,
    /// The zones as they are configured.
    pub(crate) zones: Arc<[Zone]>,
    /// How targets of aliases are asked for.
    pub(crate) resolving: Arc<Resolving>,
    /// How zones are signed.
    pub(crate) signing: Signing,
    /// What is known of the zones that are.
    pub(crate) signed: Arc<SignedZones>,
    /// Chooses for the snapshot; none without sites.
    pub(crate) chooser: Option<Arc<Chooser>>,
    /// Who copies zones, and where they come from.
    pub(crate) transfers: Arc<Transfers>,
    pub(crate) listeners: Vec<ListenerState>,
    pub(crate) tcp: TcpLimits,
    /// The longest answer over UDP, in octets.
    pub(crate) largest_udp: u16,
    pub(crate) guard: Guard,
    pub(crate) query_log: Option<SampledLog>,
    /// In octets, for each UDP socket.
    pub(crate) receive_buffer: usize,
    pub(crate) handover: Option<Handover>,
}

impl State {
    /// Opens the log of queries, or goes on with the one of the state before.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub(crate) fn open_log(&mut self, before: Option<&Self>) -> Result<(), Diagnostic> {
        let before = before.and_then(|before| before.query_log.as_ref());
        self.query_log
            .as_mut()
            .map_or(Ok(()), |log| log.open(before))
    }
}

/// Where clients ask.
#[derive(Clone, Debug)]
pub(crate) struct ListenerState {
    pub(crate) name: Arc<str>,
    pub(crate) address: SocketAddr,
    pub(crate) dual_stack: bool,
    pub(crate) place: Place,
    /// Whether connections begin with a PROXY header.
    pub(crate) proxy_header: ProxyHeader,
    /// Whose word on clients is taken.
    pub(crate) trusted: Networks,
    pub(crate) tls: Option<Arc<Terminator>>,
    /// How long a TLS handshake may take.
    pub(crate) handshake: Duration,
    pub(crate) http: Option<HttpState>,
}

/// How a listener speaks HTTP.
#[derive(Clone, Debug)]
pub(crate) struct HttpState {
    /// Where queries are sent to.
    pub(crate) path: Arc<str>,
    /// Requests at a time on one connection.
    pub(crate) streams: u32,
}

impl ListenerState {
    /// How queries come over its connections.
    pub(crate) fn transport(&self) -> Transport {
        match (&self.http, &self.tls) {
            (Some(_), _) => Transport::Https,
            (None, Some(_)) => Transport::Tls,
            (None, None) => Transport::Tcp,
        }
    }

    /// Whether it takes datagrams too.
    pub(crate) fn has_udp(&self) -> bool {
        self.transport() == Transport::Tcp
    }

    /// Whether this peer is a proxy whose word is taken.
    pub(crate) fn trusts(&self, peer: IpAddr) -> bool {
        self.trusted.contains(peer)
    }
}
