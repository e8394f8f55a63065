//! Listeners, as they are written.

use std::net::SocketAddr;

use chassis::config::Located;
use chassis::net::TcpConfig;
use chassis::net::proxy_protocol::ProxyHeader;
use chassis::units::Period;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::TlsConfig;
use crate::forward::Transport;

/// An address that clients use.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListenerConfig {
    /// Its name, for logs, metrics and hand-overs.
    pub name: Located<String>,
    /// Address and port, such as `"0.0.0.0:443"`; port 0 takes a free one.
    pub address: Located<SocketAddr>,
    /// Who carries the bytes: this process, or the kernel.
    #[serde(default)]
    pub mode: Located<Mode>,
    /// Whether it takes connections or datagrams.
    #[serde(default)]
    pub protocol: Located<Transport>,
    /// The cluster that gets what no route has a cluster for. Without one, such a connection is closed.
    #[serde(default)]
    pub cluster: Option<Located<String>>,
    /// Whether an IPv6 listener takes IPv4 clients too.
    #[serde(default)]
    pub dual_stack: Located<bool>,
    /// How many connections may wait to be accepted; the kernel's `net.core.somaxconn` is the most.
    #[serde(default = "default_backlog")]
    pub backlog: Located<u16>,
    /// Options of TCP, on both sides.
    #[serde(default)]
    pub tcp: Located<TcpConfig>,
    /// Whether connections begin with a PROXY header (version 1 or 2).
    #[serde(default)]
    pub proxy_protocol: Located<ProxyHeader>,
    /// Networks of proxies before this one, such as `"10.0.0.0/8"`, whose PROXY headers are believed.
    #[serde(default)]
    pub trusted: Vec<Located<String>>,
    /// Networks of clients that may connect; all when there are none. Those of IPv6 hold no IPv4 clients.
    #[serde(default)]
    pub allow: Vec<Located<String>>,
    /// Networks of clients that may not, also when they are allowed.
    #[serde(default)]
    pub deny: Vec<Located<String>>,
    /// Ends TLS for what no route names; it passes through without it. What begins without TLS is refused then.
    #[serde(default)]
    pub tls: Option<Located<TlsConfig>>,
    /// Limits of its connections or sessions. One over a limit is closed at once.
    #[serde(default)]
    pub limits: LimitsConfig,
    /// How long a connection may take and last.
    #[serde(default)]
    pub timeouts: TimeoutsConfig,
    /// Endpoints see the client's address instead of this machine's (`IP_TRANSPARENT`), and connections to any address
    /// are taken that the kernel leads here (TPROXY). Needs `CAP_NET_ADMIN`, clients of the same family (IPv4 or IPv6) as
    /// the endpoints, and endpoints that answer by way of this machine: rules and routes for that are the operator's.
    #[serde(default)]
    pub transparent: Located<bool>,
}

/// Who carries the bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// This process: names, PROXY headers, TLS, and limits of connections are for this mode alone.
    #[default]
    Proxy,
    /// The kernel, which writes the endpoint's address into packets (nftables); answers come back this way.
    Nat,
    /// The kernel, which sends packets on to the endpoint's network card (XDP); answers go straight to the client.
    Dr,
}

/// Limits of a listener.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// Connections at a time; no limit of its own when it is not set.
    pub connections: Option<Located<u32>>,
    /// Connections at a time of one client: an IPv4 address, or a /64 of IPv6. No limit when it is not set.
    pub per_client: Option<Located<u32>>,
    /// New connections a second; no limit when it is not set.
    pub accept_rate: Option<AcceptRateConfig>,
}

/// How many new connections are taken.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AcceptRateConfig {
    /// Connections a second, on average.
    pub per_second: Located<u32>,
    /// Connections at once, after a time with fewer; as many as in a second when it is not set.
    #[serde(default)]
    pub burst: Option<Located<u32>>,
}

/// How long a connection may take and last.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TimeoutsConfig {
    /// Until everything is there that decides where a connection goes: PROXY header, name, TLS handshake.
    pub first_bytes: Located<Period>,
    /// Without a byte either way; for datagrams, a session without one. 10 minutes when it is not set, 2 minutes for
    /// datagrams, of which nobody says which is the last.
    pub idle: Option<Located<Period>>,
    /// Without a byte after one side has ended what it sends; `idle` when that is shorter.
    pub half_closed: Located<Period>,
    /// In all; no limit when it is not set.
    pub total: Option<Located<Period>>,
}

impl Default for TimeoutsConfig {
    fn default() -> Self {
        Self {
            first_bytes: Located::nowhere(Period::from_secs(5)),
            idle: None,
            half_closed: Located::nowhere(Period::from_secs(60)),
            total: None,
        }
    }
}

fn default_backlog() -> Located<u16> {
    Located::nowhere(4096)
}
