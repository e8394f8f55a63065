//! What a configuration was compiled to: everything that a query needs, never changed, only replaced.

use std::net::SocketAddr;
use std::sync::Arc;

use chassis::config::Place;
use chassis::net::handover::Handover;

use crate::answer::Snapshot;
use crate::chooser::Chooser;
use crate::dnssec::{SignedZones, Signing};
use crate::serve::TcpLimits;
use crate::zone::Zone;

/// One compiled configuration.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) snapshot: Arc<Snapshot>,
    /// The zones as they are configured.
    pub(crate) zones: Arc<[Zone]>,
    /// How zones are signed.
    pub(crate) signing: Signing,
    /// What is known of the zones that are.
    pub(crate) signed: Arc<SignedZones>,
    /// Chooses for the snapshot; none without sites.
    pub(crate) chooser: Option<Arc<Chooser>>,
    pub(crate) listeners: Vec<ListenerState>,
    pub(crate) tcp: TcpLimits,
    /// The longest answer over UDP, in octets.
    pub(crate) largest_udp: u16,
    /// In octets, for each UDP socket.
    pub(crate) receive_buffer: usize,
    pub(crate) handover: Option<Handover>,
}

/// Where clients ask.
#[derive(Clone, Debug)]
pub(crate) struct ListenerState {
    pub(crate) name: Arc<str>,
    pub(crate) address: SocketAddr,
    pub(crate) dual_stack: bool,
    pub(crate) place: Place,
}
