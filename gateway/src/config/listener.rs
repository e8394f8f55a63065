//! Listeners, as they are written.

use std::net::SocketAddr;

use chassis::config::Located;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Http1Config, PathsConfig, ProxyHeader, TimeoutsConfig, TlsConfig};

/// A socket that clients connect to.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListenerConfig {
    /// Its name, for logs and metrics.
    pub name: Located<String>,
    /// Address and port; port 0 takes a free one.
    pub address: Located<SocketAddr>,
    /// Speaks TLS with clients; plain HTTP when it is not set.
    #[serde(default)]
    pub tls: Option<TlsConfig>,
    /// Accepts HTTP/2 without TLS from clients that know that it does.
    #[serde(default)]
    pub h2c: bool,
    /// What an HTTP/1.1 request may measure.
    #[serde(default)]
    pub http1: Http1Config,
    /// How long a client may take.
    #[serde(default)]
    pub timeouts: TimeoutsConfig,
    /// What is done with paths that servers read differently.
    #[serde(default)]
    pub paths: PathsConfig,
    /// Networks of proxies before this one, such as `"10.0.0.0/8"`: what their PROXY headers,
    /// `Forwarded` and `X-Forwarded-For` say is believed. All others are not.
    #[serde(default)]
    pub trusted: Vec<Located<String>>,
    /// Whether connections begin with a PROXY header (version 1 or 2).
    #[serde(default)]
    pub proxy_protocol: ProxyHeader,
}
