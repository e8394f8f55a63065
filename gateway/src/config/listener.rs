//! Listeners, as they are written.

use std::net::SocketAddr;

use chassis::config::Located;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Http2Config, TlsConfig};

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
    /// How it speaks HTTP/2, and how much of it a client may ask for.
    #[serde(default)]
    pub http2: Http2Config,
}
