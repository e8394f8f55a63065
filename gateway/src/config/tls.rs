//! How listeners speak TLS, as it is written.

use std::path::PathBuf;

use chassis::config::Located;
use schemars::JsonSchema;
use serde::Deserialize;

/// How a listener speaks TLS.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// File with the certificate and its chain, in PEM.
    pub certificate: Located<PathBuf>,
    /// File with the private key, in PEM.
    pub key: Located<PathBuf>,
    /// Offers HTTP/2.
    #[serde(default = "yes")]
    pub h2: bool,
}

fn yes() -> bool {
    true
}
