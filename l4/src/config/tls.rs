//! TLS that ends at the balancer, as it is written.

use std::path::PathBuf;

use chassis::config::Located;
use chassis::tls::{CertificateConfig, TicketsConfig, TlsVersion};
use schemars::JsonSchema;
use serde::Deserialize;

/// TLS that ends here: endpoints get what is in it. `timeouts.first_bytes` of the listener is for the handshake too.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// File with the default certificate and its chain, in PEM.
    pub certificate: Located<PathBuf>,
    /// File with its private key, in PEM.
    pub key: Located<PathBuf>,
    /// More certificates. A client gets the one with the host name that it asks for.
    #[serde(default)]
    pub certificates: Vec<CertificateConfig>,
    /// The versions that are spoken.
    #[serde(default = "default_versions")]
    pub versions: Located<Vec<TlsVersion>>,
    /// How clients can go on with an earlier session.
    #[serde(default)]
    pub tickets: TicketsConfig,
    /// Protocols that clients can choose from (ALPN), such as `["h2", "http/1.1"]`; the first that a client knows too is
    /// agreed on, and a client that knows none is refused. Endpoints have to speak all of them; PROXY headers of version 2
    /// say which it is. Without any, nothing is agreed on.
    #[serde(default)]
    pub alpn: Vec<Located<String>>,
}

fn default_versions() -> Located<Vec<TlsVersion>> {
    Located::nowhere(vec![TlsVersion::V12, TlsVersion::V13])
}
