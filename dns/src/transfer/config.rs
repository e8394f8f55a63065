//! Keys, who may copy a zone, and where copies come from, as they are written.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use chassis::config::{Located, Secret};
use chassis::units::{Period, Size};
use schemars::JsonSchema;
use serde::Deserialize;

/// A key that two servers share, to sign messages with (TSIG, RFC 8945). Both call it by the same name.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TsigConfig {
    /// How messages are signed.
    #[serde(default)]
    pub algorithm: TsigAlgorithm,
    /// The key in base64: `"${file:keys/ns2}"` reads it from a file.
    pub secret: Located<Secret>,
}

/// How messages are signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TsigAlgorithm {
    /// HMAC with SHA-256.
    #[default]
    HmacSha256,
    /// HMAC with SHA-384.
    HmacSha384,
    /// HMAC with SHA-512.
    HmacSha512,
}

/// Who may copy a zone. What is set must hold, all of it.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TransferRuleConfig {
    /// Networks and addresses of clients: `"192.0.2.0/24"`.
    #[serde(default)]
    pub from: Vec<Located<String>>,
    /// The key that signs the request.
    #[serde(default)]
    pub key: Option<Located<String>>,
}

/// Another server.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PeerConfig {
    /// Where it answers: `"192.0.2.53:53"`.
    pub address: Located<SocketAddr>,
    /// The key that signs what is said.
    #[serde(default)]
    pub key: Option<Located<String>>,
    /// The address of this machine that it is spoken to from; the kernel chooses when it is not set.
    #[serde(default)]
    pub from: Option<Located<IpAddr>>,
}

/// Limits of transfers, and where copies are kept.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TransfersConfig {
    /// The folder where copies of zones are kept, so that they are served at once after a restart. Zones
    /// with a `primary` need it.
    pub state: Option<Located<PathBuf>>,
    /// Transfers to others at a time; what is beyond gets SERVFAIL and may ask again.
    pub concurrent: Located<u32>,
    /// Those of one client: an IPv4 address, or an IPv6 /64. No other server waits for one that does not read.
    pub concurrent_per_client: Located<u32>,
    /// Octets a second of each transfer to others; as fast as they are taken when it is not set.
    pub rate: Option<Located<Size>>,
    /// Records of past changes that are kept for each zone, so that only changes are transferred (IXFR).
    pub journal: Located<u32>,
    /// The most records that a zone from a primary may have.
    pub records: Located<u32>,
    /// The most octets that a transfer from a primary may have.
    pub size: Located<Size>,
    /// A transfer from a primary is given up after so long, and after `tcp.progress` without a message.
    pub within: Located<Period>,
}

impl Default for TransfersConfig {
    fn default() -> Self {
        Self {
            state: None,
            concurrent: Located::nowhere(10),
            concurrent_per_client: Located::nowhere(5),
            rate: None,
            journal: Located::nowhere(100_000),
            records: Located::nowhere(5_000_000),
            size: Located::nowhere(Size::from_kib(512 * 1024)),
            within: Located::nowhere(Period::from_secs(600)),
        }
    }
}
