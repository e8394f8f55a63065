//! The configuration file of the role, as it is written. What it means is judged by `compile`.

mod cluster;
mod listener;
mod route;
mod tls;

use std::collections::BTreeMap;

use chassis::config::Located;
use chassis::health::HealthConfig;
use chassis::health::check::CheckConfig;
use chassis::life::AdminConfig;
use chassis::net::handover::HandoverConfig;
use chassis::telemetry::{LogConfig, SampledLogConfig};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::dr::DrOptions;
use crate::nat::NatConfig;

pub use self::cluster::{AllDown, ClusterConfig, EndpointConfig, ProxyVersion, SchedulerConfig};
pub use self::listener::{AcceptRateConfig, LimitsConfig, ListenerConfig, Mode, TimeoutsConfig};
pub use self::route::RouteConfig;
pub use self::tls::TlsConfig;

/// The configuration of `tidegate l4`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where operators look at this process.
    pub admin: AdminConfig,
    /// How the program logs its own events.
    #[serde(default)]
    pub log: LogConfig,
    /// Threads that carry connections, each with sockets of its own; the number of cores when it is not set. A change
    /// needs a restart.
    #[serde(default)]
    pub threads: Option<Located<u16>>,
    /// Connections of clients at a time over all listeners; one over it is closed at once. When it is not set, half as
    /// many as the process may have open files beyond those of its start, less an eighth of all: a connection needs two.
    #[serde(default)]
    pub connections: Option<Located<u32>>,
    /// How a newer process can take this one's place without a refused connection, with `tidegate handover`.
    #[serde(default)]
    pub handover: Option<HandoverConfig>,
    /// A log of connections that have ended; none when it is not set.
    #[serde(default)]
    pub connection_log: Option<SampledLogConfig>,
    /// Where clients connect.
    #[serde(default)]
    pub listener: Vec<ListenerConfig>,
    /// Which cluster gets connections for a name; without one, the cluster of the listener.
    #[serde(default)]
    pub route: Vec<RouteConfig>,
    /// Options of all listeners with `mode = "nat"`.
    #[serde(default)]
    pub nat: Located<NatConfig>,
    /// How endpoints are checked, by name.
    #[serde(default)]
    pub check: BTreeMap<Located<String>, CheckConfig>,
    /// Options of all listeners with mode `dr`. A change needs a restart, or a hand-over.
    #[serde(default)]
    pub dr: DrOptions,
    /// What is kept of health.
    #[serde(default)]
    pub health: HealthConfig,
    /// Named sets of endpoints.
    #[serde(default)]
    pub cluster: BTreeMap<Located<String>, ClusterConfig>,
}
