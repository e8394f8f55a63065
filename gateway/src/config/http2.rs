//! HTTP/2 with clients, as it is written.

use chassis::config::Located;
use chassis::units::Size;
use schemars::JsonSchema;
use serde::Deserialize;

/// How a listener speaks HTTP/2, and how much of it a client may ask for.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Http2Config {
    /// How many requests a client may have under way on one connection.
    pub streams: Located<u32>,
    /// How many bytes of a request's body may wait for the upstream.
    pub window: Located<Size>,
    /// How many bytes of all bodies of a connection may wait for upstreams.
    pub connection_window: Located<Size>,
    /// The largest frame that a client may send.
    pub frame: Located<Size>,
    /// How many bytes the headers of a request may have, 32 more for each; larger ones are answered with 431.
    pub headers: Located<Size>,
    /// How many headers a request may have; more are answered with 431.
    pub header_count: Located<u32>,
    /// How many requests a client may reset, or make the gateway reset, at once; a tenth of them
    /// is forgiven each second, and one for two requests that were answered.
    pub resets: Located<u32>,
}

impl Default for Http2Config {
    fn default() -> Self {
        Self {
            streams: Located::nowhere(128),
            window: Located::nowhere(Size::from_kib(64)),
            connection_window: Located::nowhere(Size::from_kib(1024)),
            frame: Located::nowhere(Size::from_kib(16)),
            headers: Located::nowhere(Size::from_kib(64)),
            header_count: Located::nowhere(100),
            resets: Located::nowhere(100),
        }
    }
}
