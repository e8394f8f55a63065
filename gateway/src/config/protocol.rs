//! Protocols between the gateway and endpoints, as they are written.

use chassis::config::Located;
use chassis::units::{Period, Size};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which HTTP the endpoints of a cluster speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2: agreed on in the TLS handshake, or without asking where there is no TLS (h2c).
    Http2,
    /// HTTP/2 from endpoints that offer it in the TLS handshake, else HTTP/1.1.
    Auto,
}

/// Versions of the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ProxyProtocol {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// How the gateway speaks HTTP/2 with endpoints.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UpstreamHttp2Config {
    /// How many requests may be under way on one connection; the endpoint may want fewer.
    pub streams: Located<u16>,
    /// How many bytes of a response an endpoint may send before the client has taken them.
    pub window: Located<Size>,
    /// Asks over connections in use so often whether the endpoint is still there, and gives a
    /// connection up that does not answer. Never, when it is not set: some servers forbid it.
    pub ping: Option<Located<Period>>,
}

impl Default for UpstreamHttp2Config {
    fn default() -> Self {
        Self {
            streams: Located::nowhere(100),
            window: Located::nowhere(Size::from_kib(256)),
            ping: None,
        }
    }
}
