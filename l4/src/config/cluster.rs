//! Clusters, as they are written.

use std::net::SocketAddr;

use chassis::config::Located;
use chassis::units::Period;
use schemars::JsonSchema;
use serde::Deserialize;

/// A named set of endpoints.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClusterConfig {
    /// Its members.
    pub endpoints: Located<Vec<EndpointConfig>>,
    /// How connections are dealt out.
    #[serde(default)]
    pub scheduler: SchedulerConfig,
    /// An endpoint that begins to take connections gets its whole share only after so long, and more of it all the time.
    #[serde(default)]
    pub slow_start: Option<Located<Period>>,
    /// The check that every endpoint must pass, by name; without one all count as well.
    #[serde(default)]
    pub check: Option<Located<String>>,
    /// Who gets connections while no endpoint is well.
    #[serde(default)]
    pub all_down: AllDown,
    /// Begins each connection with the addresses of its client.
    #[serde(default)]
    pub proxy_protocol: Option<ProxyVersion>,
    /// How long connecting to one endpoint may take.
    #[serde(default = "default_connect_timeout")]
    pub connect_timeout: Located<Period>,
    /// How long connecting may take in all: so long other endpoints are tried when one does not take a connection.
    #[serde(default = "default_connect_budget")]
    pub connect_budget: Located<Period>,
    /// Closes the connections of an endpoint that was drained (weight 0) or has left, spread evenly over so long after a
    /// first tenth, in which short ones end by themselves; they go on until they end when it is not set. Sessions of
    /// datagrams go on elsewhere so long after their endpoint has left, and at once when it is not set.
    #[serde(default)]
    pub drain: Option<Located<Period>>,
}

/// A member of a cluster.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EndpointConfig {
    /// Address and port.
    pub address: Located<SocketAddr>,
    /// Its share of the connections in relation to those of the others, up to 1000; 0 drains it.
    #[serde(default = "default_weight")]
    pub weight: Located<u32>,
    /// Connections at a time; the others get those beyond it. No limit when it is not set.
    #[serde(default)]
    pub limit: Option<Located<u32>>,
    /// Where it is checked, if not at its address.
    #[serde(default)]
    pub probe: Option<Located<SocketAddr>>,
}

/// How connections are dealt out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SchedulerConfig {
    /// In turns, by weight, spread (smooth weighted round robin).
    #[default]
    RoundRobin,
    /// To the endpoint that has the fewest for its weight.
    LeastConnections,
    /// To the one of two, drawn by weight, that has fewer for its weight.
    TwoChoices,
    /// All connections of a client's address to the same endpoint, by a Maglev table. Every balancer with this
    /// configuration has the same.
    SourceHash,
    /// Each flow (addresses and ports of both sides) to one endpoint, by a Maglev table. Every balancer with this
    /// configuration has the same.
    Maglev,
}

/// Who gets connections while no endpoint is well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AllDown {
    /// Nobody: they are closed.
    #[default]
    Refuse,
    /// All endpoints, as if they were well, but for those whose state an operator has set to `down`: it may be the checks
    /// that fail.
    Any,
}

/// A version of the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ProxyVersion {
    /// A line of text.
    V1,
    /// In binary, with the name that the client asked for.
    V2,
}

fn default_weight() -> Located<u32> {
    Located::nowhere(1)
}
fn default_connect_timeout() -> Located<Period> {
    // The kernel sends what was lost again after 1 s (RFC 6298).
    Located::nowhere(Period::from_millis(1500))
}
fn default_connect_budget() -> Located<Period> {
    Located::nowhere(Period::from_secs(3))
}
