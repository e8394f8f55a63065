//! The configuration file of the role, as it is written. What it means is judged by `compile`.

mod listener;
mod zone;

use std::collections::BTreeMap;

use chassis::config::Located;
use chassis::life::AdminConfig;
use chassis::net::handover::HandoverConfig;
use chassis::telemetry::LogConfig;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::dnssec::DnssecConfig;
use crate::geo::{GeoConfig, SiteConfig};
use crate::health::{CheckConfig, HealthConfig};
use crate::policy::PolicyConfig;

pub use self::listener::{ListenerConfig, TcpLimitsConfig, UdpConfig};
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
    /// Where clients ask, over UDP and TCP.
    #[serde(default)]
    pub listener: Vec<ListenerConfig>,
    /// Answers over UDP.
    #[serde(default)]
    pub udp: UdpConfig,
    /// Connections over TCP.
    #[serde(default)]
    pub tcp: TcpLimitsConfig,
    /// What is answered.
    #[serde(default)]
    pub zone: Vec<ZoneConfig>,
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
