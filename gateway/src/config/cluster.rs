//! Clusters, as they are written.

use std::path::PathBuf;

use chassis::config::Located;
use chassis::units::Period;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Protocol, ProxyProtocol, UpstreamHttp2Config};

/// A named set of endpoints.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClusterConfig {
    /// Its members.
    pub endpoints: Located<Vec<EndpointConfig>>,
    /// Asks each endpoint in turn whether it is well; without it every endpoint counts as healthy.
    #[serde(default)]
    pub check: Option<CheckConfig>,
    /// Speaks TLS with the endpoints.
    #[serde(default)]
    pub tls: Option<UpstreamTlsConfig>,
    /// Which HTTP the endpoints speak.
    #[serde(default)]
    pub protocol: Located<Protocol>,
    /// How the gateway speaks HTTP/2 with the endpoints.
    #[serde(default)]
    pub http2: UpstreamHttp2Config,
    /// Begins each connection to an endpoint with the addresses of its client. Such a
    /// connection is used again only for requests of the same client connection.
    #[serde(default)]
    pub proxy_protocol: Option<Located<ProxyProtocol>>,
    /// How long connecting may take, TLS included.
    #[serde(default = "default_connect_timeout")]
    pub connect_timeout: Period,
    /// How long an endpoint may be silent while a response is awaited or read.
    #[serde(default = "default_read_timeout")]
    pub read_timeout: Period,
    /// How long an endpoint may take to accept a piece of a request.
    #[serde(default = "default_read_timeout")]
    pub write_timeout: Period,
    /// How long an idle connection is kept for the next request.
    #[serde(default = "default_idle_timeout")]
    pub idle_timeout: Period,
    /// Carries requests by the gateway's own relay. When it is false they go through Pingora's proxy, as
    /// WebSockets and requests to HTTP/2 endpoints always do: the same answers, for more CPU time.
    #[serde(default = "default_relay")]
    pub relay: bool,
    /// How many other endpoints are tried when one cannot be connected to, or breaks off before an
    /// answer to a request that changes nothing (GET, HEAD). What is idempotent (PUT, DELETE) is only
    /// sent again when a connection that was kept breaks.
    #[serde(default = "default_retries")]
    pub retries: Located<u8>,
}

/// A member of a cluster.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EndpointConfig {
    /// Host and port. A name is looked up every 10 s, and its first address used.
    pub address: Located<String>,
    /// Its share of the requests; 0 drains it.
    #[serde(default = "default_weight")]
    pub weight: Located<u32>,
}

/// How the health of endpoints is checked: a GET that must be answered with a 2xx or 3xx status.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckConfig {
    /// The path to ask for.
    #[serde(default = "default_check_path")]
    pub path: Located<String>,
    /// The `Host` to ask for; the endpoint's own address when it is not set.
    #[serde(default)]
    pub host: Option<Located<String>>,
    /// The time between two checks of an endpoint, spread by a tenth.
    #[serde(default = "default_check_interval")]
    pub interval: Located<Period>,
    /// How long an answer may take.
    #[serde(default = "default_check_timeout")]
    pub timeout: Period,
    /// How many good answers in a row make an unhealthy endpoint healthy. The first check of all decides alone.
    #[serde(default = "default_threshold")]
    pub rise: Located<u32>,
    /// How many bad answers in a row make a healthy endpoint unhealthy.
    #[serde(default = "default_threshold")]
    pub fall: Located<u32>,
}

/// How the gateway speaks TLS with endpoints.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpstreamTlsConfig {
    /// The name that the endpoints' certificates must carry, also sent as SNI.
    pub server_name: Located<String>,
    /// File with the authorities to trust, in PEM; the system's when it is not set.
    #[serde(default)]
    pub ca: Option<Located<PathBuf>>,
}

const fn default_connect_timeout() -> Period {
    Period::from_secs(1)
}
const fn default_read_timeout() -> Period {
    Period::from_secs(30)
}
const fn default_idle_timeout() -> Period {
    Period::from_secs(60)
}
const fn default_relay() -> bool {
    true
}
fn default_retries() -> Located<u8> {
    Located::nowhere(1)
}
fn default_weight() -> Located<u32> {
    Located::nowhere(1)
}
fn default_check_path() -> Located<String> {
    Located::nowhere("/healthz".into())
}
fn default_check_interval() -> Located<Period> {
    Located::nowhere(Period::from_secs(1))
}
const fn default_check_timeout() -> Period {
    Period::from_millis(500)
}
fn default_threshold() -> Located<u32> {
    Located::nowhere(2)
}
