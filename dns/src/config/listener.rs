//! Where clients ask, and what each may take.

use std::net::SocketAddr;

use chassis::config::Located;
use chassis::units::Period;
use schemars::JsonSchema;
use serde::Deserialize;

/// Where clients ask, over UDP and TCP.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListenerConfig {
    /// Its name, for logs and hand-overs.
    pub name: Located<String>,
    /// Address and port; port 0 takes one that is free for both. On `0.0.0.0` and `[::]` answers leave
    /// from the address that was asked.
    pub address: Located<SocketAddr>,
    /// Whether an IPv6 listener takes IPv4 clients too.
    #[serde(default)]
    pub dual_stack: bool,
}

/// Answers over UDP.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UdpConfig {
    /// The longest answer in octets, from 512 to 4096; a client that takes less gets less. What does not
    /// fit is asked again over TCP. Beyond 1232 answers are cut into fragments on their way, which get lost.
    pub largest: Located<u16>,
    /// How many octets wait in the kernel for a thread that is busy. It doubles the number.
    pub receive_buffer: chassis::units::Size,
}

/// Connections over TCP.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TcpLimitsConfig {
    /// Connections at a time, over all.
    pub connections: Located<u32>,
    /// Connections at a time of one client: an IPv4 address, or an IPv6 /64.
    pub connections_per_client: Located<u32>,
    /// A connection without a query ends after so long (RFC 7766, 6.2.3).
    pub idle: Period,
    /// A query that has begun must be there, and an answer taken, within so long.
    pub progress: Period,
    /// Queries that may be sent over one connection.
    pub queries: Located<u32>,
}

impl Default for UdpConfig {
    fn default() -> Self {
        Self {
            largest: Located::nowhere(1232),
            receive_buffer: chassis::units::Size::from_kib(1024),
        }
    }
}

impl Default for TcpLimitsConfig {
    fn default() -> Self {
        Self {
            connections: Located::nowhere(1000),
            connections_per_client: Located::nowhere(20),
            idle: Period::from_secs(10),
            progress: Period::from_secs(3),
            queries: Located::nowhere(10_000),
        }
    }
}
