//! How listeners speak TLS, as it is written.

use std::path::PathBuf;

use chassis::config::Located;
use chassis::tls::{CertificateConfig, TicketsConfig, TlsVersion};
use chassis::units::Period;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{IssueConfig, OneOrMore};

/// How a listener speaks TLS.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// File with the default certificate and its chain, in PEM. May be left out when there are
    /// others: then the first of `certificates` is the default, or of `acme`.
    #[serde(default)]
    pub certificate: Option<Located<PathBuf>>,
    /// File with its private key, in PEM.
    #[serde(default)]
    pub key: Option<Located<PathBuf>>,
    /// File with an OCSP response about it, in DER, for clients that ask for one.
    #[serde(default)]
    pub ocsp: Option<Located<PathBuf>>,
    /// More certificates. A client gets the one with the host name that it asks for.
    #[serde(default)]
    pub certificates: Vec<CertificateConfig>,
    /// Certificates that an authority issues; one for each table. Until the first is there, clients
    /// get the default certificate.
    #[serde(default)]
    pub acme: OneOrMore<IssueConfig>,
    /// What clients get that ask for a name that no certificate has, or for none.
    #[serde(default)]
    pub unknown_names: UnknownNames,
    /// Offers HTTP/2.
    #[serde(default = "yes")]
    pub h2: bool,
    /// The versions that are spoken.
    #[serde(default = "default_versions")]
    pub versions: Located<Vec<TlsVersion>>,
    /// Cipher suites by their IANA names, in the order in which they are chosen; all that rustls
    /// holds safe, in the order of the client, when it is empty.
    #[serde(default)]
    pub suites: Located<Vec<Located<String>>>,
    /// Groups for the key exchange, in the order in which they are chosen: `"X25519"`,
    /// `"secp256r1"` and `"secp384r1"`, which are all when it is empty.
    #[serde(default)]
    pub groups: Vec<Located<String>>,
    /// How clients can go on with an earlier session.
    #[serde(default)]
    pub tickets: TicketsConfig,
    /// Asks clients for a certificate.
    #[serde(default)]
    pub client_certificates: Option<ClientCertificatesConfig>,
    /// Warns so long before a certificate expires, every day; for those that live shorter than
    /// three times that, in the last third of their lives.
    #[serde(default = "default_warn_before")]
    pub warn_before: Period,
}

/// What clients get that ask for a name that no certificate has, or for none.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum UnknownNames {
    /// The default certificate.
    #[default]
    Default,
    /// An alert: no handshake, and no hint at the names that there are.
    Refuse,
}

/// Asks clients for a certificate. What it says is there for plugins, such as `client_certificate`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientCertificatesConfig {
    /// Whether a client needs one.
    #[serde(default)]
    pub mode: ClientCertificates,
    /// File with the certificates of the authorities that are trusted, in PEM.
    pub ca: Located<PathBuf>,
    /// Files with revocation lists, in PEM or DER. When there are any, every authority in a chain
    /// needs a list that is not out of date.
    #[serde(default)]
    pub crl: Vec<Located<PathBuf>>,
}

/// Whether clients need a certificate.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum ClientCertificates {
    /// They are not asked for one.
    Off,
    /// They may do without one; one that they show must be valid.
    Optional,
    /// There is no handshake without a valid one.
    #[default]
    Required,
}

fn yes() -> bool {
    true
}

fn default_versions() -> Located<Vec<TlsVersion>> {
    Located::nowhere(vec![TlsVersion::V12, TlsVersion::V13])
}

fn default_warn_before() -> Period {
    Period::from_secs(14 * 24 * 60 * 60)
}
