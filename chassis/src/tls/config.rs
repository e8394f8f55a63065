//! What of TLS every role writes alike.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::Located;
use crate::units::Period;

/// A certificate for the names that it is made out to.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CertificateConfig {
    /// File with the certificate and its chain, in PEM. Its DNS names are what it is chosen by;
    /// `*` stands for one label.
    pub certificate: Located<PathBuf>,
    /// File with its private key, in PEM.
    pub key: Located<PathBuf>,
    /// File with an OCSP response about it, in DER, for clients that ask for one.
    #[serde(default)]
    pub ocsp: Option<Located<PathBuf>>,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246).
    #[serde(rename = "1.2")]
    V12,
    /// TLS 1.3 (RFC 8446).
    #[serde(rename = "1.3")]
    V13,
}

/// How clients can go on with an earlier session, which spares both sides the signature.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TicketsConfig {
    /// Gives out session tickets. Without them every handshake is a full one: the process itself
    /// keeps no sessions.
    pub enabled: bool,
    /// How often the key that encrypts them is replaced. A ticket can be used for that long at
    /// least, and twice that at most. Keys survive a reload, not a restart.
    pub rotate: Located<Period>,
    /// Files with secrets of at least 32 bytes, to share tickets between machines and across
    /// restarts: the first encrypts, all decrypt. Who writes the files replaces the secrets.
    pub keys: Vec<Located<PathBuf>>,
}

impl Default for TicketsConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            rotate: Located::nowhere(Period::from_secs(12 * 60 * 60)),
            keys: Vec::new(),
        }
    }
}
