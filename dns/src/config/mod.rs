//! The configuration file of the role, as it is written. What it means is judged by `compile`.

mod listener;
mod zone;

use std::collections::BTreeMap;

use chassis::config::Located;
use chassis::health::HealthConfig;
use chassis::health::check::CheckConfig;
use chassis::life::AdminConfig;
use chassis::net::handover::HandoverConfig;
use chassis::telemetry::{LogConfig, SampledLogConfig};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::alias::ResolverConfig;
use crate::dnssec::DnssecConfig;
use crate::geo::{GeoConfig, SiteConfig};
use crate::guard::{CookiesConfig, RateLimitConfig};
use crate::policy::PolicyConfig;
use crate::transfer::{TransfersConfig, TsigConfig};

pub use self::listener::{HttpConfig, ListenerConfig, TcpLimitsConfig, TlsConfig, UdpConfig};
pub use self::zone::{RecordConfig, SoaConfig, ZoneConfig};

/// The configuration of `tidegate dns`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where operators look at this process.
    pub admin: AdminConfig,
    /// How the program logs its own events.
    #[serde(default)]
    pub log: LogConfig,
    /// Threads that answer over UDP, each with a socket of its own; the number of cores when it is
    /// not set. A change needs a restart.
    #[serde(default)]
    pub threads: Option<Located<u16>>,
    /// How a newer process can take this one's place without a lost query, with `tidegate handover`.
    #[serde(default)]
    pub handover: Option<HandoverConfig>,
    /// Where clients ask.
    #[serde(default)]
    pub listener: Vec<ListenerConfig>,
    /// Answers over UDP.
    #[serde(default)]
    pub udp: UdpConfig,
    /// Connections: over TCP, TLS and HTTP.
    #[serde(default)]
    pub tcp: TcpLimitsConfig,
    /// What this server calls itself to clients that ask which server answers (NSID, RFC 5001), from 1 to 64 octets; it
    /// tells nothing when it is not set.
    #[serde(default)]
    pub nsid: Option<Located<String>>,
    /// Cookies, by which clients show that their address is theirs.
    #[serde(default)]
    pub cookies: CookiesConfig,
    /// How many answers one network gets over UDP; as many as it asks for when it is not set.
    #[serde(default)]
    pub rate_limit: Option<RateLimitConfig>,
    /// A log of queries; none when it is not set.
    #[serde(default)]
    pub query_log: Option<SampledLogConfig>,
    /// What is answered.
    #[serde(default)]
    pub zone: Vec<ZoneConfig>,
    /// Who is asked for the addresses that `ALIAS` records lead to.
    #[serde(default)]
    pub resolver: ResolverConfig,
    /// Limits of transfers, and where copies are kept.
    #[serde(default)]
    pub transfers: TransfersConfig,
    /// Keys that sign messages between servers, by name.
    #[serde(default)]
    pub tsig: BTreeMap<Located<String>, TsigConfig>,
    /// What signed zones share; a zone is signed that has a `dnssec` of its own.
    #[serde(default)]
    pub dnssec: Option<DnssecConfig>,
    /// The sites that policies choose among.
    #[serde(default)]
    pub site: Vec<SiteConfig>,
    /// Which site a client belongs to.
    #[serde(default)]
    pub geo: Option<Located<GeoConfig>>,
    /// How endpoints are checked, by name.
    #[serde(default)]
    pub check: BTreeMap<Located<String>, CheckConfig>,
    /// How the addresses of records that name a policy are chosen for each client, by name.
    #[serde(default)]
    pub policy: BTreeMap<Located<String>, PolicyConfig>,
    /// What is kept of health.
    #[serde(default)]
    pub health: HealthConfig,
}
