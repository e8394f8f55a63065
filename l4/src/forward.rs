//! What the kernel is to forward without this process: what the modes `nat` and `dr` have in common.

use std::net::SocketAddr;
use std::sync::Arc;

/// What connections or datagrams are of.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    serde::Deserialize,
    serde::Serialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// Connections.
    #[default]
    Tcp,
    /// Datagrams.
    Udp,
}

/// An address that clients use, and who gets their flows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// The name of its listener.
    pub name: Arc<str>,
    /// What it takes.
    pub transport: Transport,
    /// The address that clients use.
    pub address: SocketAddr,
    /// Whether one client's flows all go to one endpoint (by its address alone), and not each by itself.
    pub by_source: bool,
    /// Who gets the flows.
    pub members: Vec<Member>,
}

/// An endpoint and its share of the flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its share of new flows in relation to those of the others; 0 gets none, and keeps what it has.
    pub share: u32,
    /// Whether it is well: flows to one that is not are to be taken from it.
    pub well: bool,
}
