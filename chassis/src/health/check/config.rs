//! Checks, as they are written.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::Located;
use crate::units::Period;

/// How endpoints are checked: exactly one of `http`, `tcp`, `tls`, `udp` and `dns`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckConfig {
    /// A GET that must be answered with a good status.
    #[serde(default)]
    pub http: Option<HttpCheckConfig>,
    /// A connection that must be accepted.
    #[serde(default)]
    pub tcp: Option<TcpCheckConfig>,
    /// A TLS handshake that must succeed.
    #[serde(default)]
    pub tls: Option<TlsOnlyCheckConfig>,
    /// A datagram that must be answered.
    #[serde(default)]
    pub udp: Option<UdpCheckConfig>,
    /// A query that must be answered.
    #[serde(default)]
    pub dns: Option<DnsCheckConfig>,
    /// The time from one check of an endpoint to the next, spread by a tenth.
    #[serde(default = "default_interval")]
    pub interval: Located<Period>,
    /// How long an answer may take.
    #[serde(default = "default_timeout")]
    pub timeout: Located<Period>,
    /// How many good outcomes in a row make an endpoint that is down up again.
    #[serde(default = "default_rise")]
    pub rise: Located<u32>,
    /// How many bad outcomes in a row make an endpoint that is up down.
    #[serde(default = "default_fall")]
    pub fall: Located<u32>,
    /// What an endpoint is before its first check has ended. The outcome of that decides alone when it is `"unknown"`.
    #[serde(default)]
    pub start: Start,
    /// Makes an endpoint that fell before prove more: four times as many good outcomes as `rise` after its second fall,
    /// sixteen times after the third, at most 64.
    #[serde(default = "default_damping")]
    pub damping: bool,
    /// Falls are forgotten when an endpoint was up for so long.
    #[serde(default = "default_calm")]
    pub calm: Located<Period>,
}

/// What an endpoint is before its first check has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// Nobody knows: no client is sent there.
    #[default]
    Unknown,
    /// It serves.
    Up,
    /// It does not.
    Down,
}

/// A GET by HTTP/1.1.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpCheckConfig {
    /// The port; the endpoint's own when it is not set. For an endpoint without one, 80, or 443 with `tls`.
    #[serde(default)]
    pub port: Option<Located<u16>>,
    /// The path to ask for.
    #[serde(default = "default_path")]
    pub path: Located<String>,
    /// The `Host` to ask for; address and port when it is not set.
    #[serde(default)]
    pub host: Option<Located<String>>,
    /// The statuses that are good; 200 to 399 when there are none.
    #[serde(default)]
    pub status: Vec<Located<u16>>,
    /// Speaks TLS.
    #[serde(default)]
    pub tls: Option<TlsCheckConfig>,
}

/// How TLS is spoken in a check.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TlsCheckConfig {
    /// The name that the certificate must carry, also sent as SNI.
    pub server_name: Located<String>,
    /// File with the authorities to trust, in PEM; the system's when it is not set.
    #[serde(default)]
    pub ca: Option<Located<PathBuf>>,
}

/// A connection that must be accepted.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TcpCheckConfig {
    /// The port; the endpoint's own when it is not set.
    #[serde(default)]
    pub port: Option<Located<u16>>,
}

/// A TLS handshake that must succeed.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TlsOnlyCheckConfig {
    /// The port; the endpoint's own when it is not set. For an endpoint without one, 443.
    #[serde(default)]
    pub port: Option<Located<u16>>,
    /// The name that the certificate must carry, also sent as SNI.
    pub server_name: Located<String>,
    /// File with the authorities to trust, in PEM; the system's when it is not set.
    #[serde(default)]
    pub ca: Option<Located<PathBuf>>,
}

/// A datagram that must be answered.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UdpCheckConfig {
    /// The port; the endpoint's own when it is not set.
    #[serde(default)]
    pub port: Option<Located<u16>>,
    /// What is sent.
    pub send: Located<String>,
    /// What an answer must begin with; any answer is good when it is not set.
    #[serde(default)]
    pub expect: String,
}

/// A query that must be answered with NOERROR.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DnsCheckConfig {
    /// The port; the endpoint's own when it is not set. For an endpoint without one, 53.
    #[serde(default)]
    pub port: Option<Located<u16>>,
    /// The name to ask for.
    pub name: Located<String>,
    /// The type to ask for.
    #[serde(default, rename = "type")]
    pub kind: CheckedType,
    /// How many records the answer must have at least.
    #[serde(default = "default_answers")]
    pub answers: u16,
}

/// A type that a check can ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
#[expect(missing_docs, reason = "they are the names of RFC 1035 and RFC 3596")]
pub enum CheckedType {
    #[default]
    A,
    Aaaa,
    Mx,
    Ns,
    Soa,
    Txt,
}

fn default_interval() -> Located<Period> {
    Located::nowhere(Period::from_secs(2))
}
fn default_timeout() -> Located<Period> {
    Located::nowhere(Period::from_secs(1))
}
fn default_rise() -> Located<u32> {
    Located::nowhere(2)
}
fn default_fall() -> Located<u32> {
    Located::nowhere(3)
}
const fn default_damping() -> bool {
    true
}
fn default_calm() -> Located<Period> {
    Located::nowhere(Period::from_secs(300))
}
fn default_path() -> Located<String> {
    Located::nowhere("/healthz".into())
}
const fn default_answers() -> u16 {
    1
}
