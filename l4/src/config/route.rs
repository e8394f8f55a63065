//! Routes, as they are written.

use chassis::config::Located;
use schemars::JsonSchema;
use serde::Deserialize;

use super::TlsConfig;

/// Which cluster gets connections for some names.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RouteConfig {
    /// Host names that clients ask for in the first bytes: by SNI in TLS and QUIC, by `Host` in HTTP. `"*.example.com"`
    /// stands for all names below; a longer name, or one without `*`, comes first.
    pub names: Located<Vec<Located<String>>>,
    /// The cluster.
    pub cluster: Located<String>,
    /// The listeners it is for; every listener of mode `proxy` when there are none.
    #[serde(default)]
    pub listeners: Vec<Located<String>>,
    /// Ends TLS for these names; it passes through without it, and so does QUIC anyway. What begins without TLS is
    /// refused: for plain HTTP on another listener, say in `listeners` which ones the route is for.
    #[serde(default)]
    pub tls: Option<Located<TlsConfig>>,
}
