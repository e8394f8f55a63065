//! The gateway's configuration file, as it is written. What it means is judged by `compile`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use chassis::config::{Located, Raw};
use chassis::life::AdminConfig;
use chassis::telemetry::LogConfig;
use chassis::units::Period;
use schemars::JsonSchema;
use serde::Deserialize;

/// The configuration of `tidegate gateway`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where operators look at this process.
    pub admin: AdminConfig,
    /// How the program logs its own events.
    #[serde(default)]
    pub log: LogConfig,
    /// Threads that carry requests; the number of cores when it is not set. A change needs a restart.
    #[serde(default)]
    pub threads: Option<Located<u16>>,
    /// How long requests in flight may take to finish when the gateway stops.
    #[serde(default = "default_drain")]
    pub drain: Period,
    /// Where clients connect.
    #[serde(default)]
    pub listener: Vec<ListenerConfig>,
    /// Plugins that every request meets, in this order, also one that no route matches.
    #[serde(default)]
    pub plugins: Vec<Located<String>>,
    /// Instances of plugins by name. `kind` says which plugin it is; the name itself when it is not set.
    #[serde(default)]
    #[schemars(schema_with = "plugin_schema")]
    pub plugin: BTreeMap<Located<String>, Raw>,
    /// Where requests go, by name.
    #[serde(default)]
    pub cluster: BTreeMap<Located<String>, ClusterConfig>,
    /// Which requests go where. The most specific route that matches in full wins.
    #[serde(default)]
    pub route: Vec<RouteConfig>,
}

/// A socket that clients connect to.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListenerConfig {
    /// Its name, for logs and metrics.
    pub name: Located<String>,
    /// Address and port; port 0 takes a free one.
    pub address: Located<SocketAddr>,
    /// Speaks TLS with clients; plain HTTP when it is not set.
    #[serde(default)]
    pub tls: Option<TlsConfig>,
    /// Accepts HTTP/2 without TLS from clients that know that it does.
    #[serde(default)]
    pub h2c: bool,
}

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

/// A named set of endpoints.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClusterConfig {
    /// Its members.
    pub endpoints: Located<Vec<EndpointConfig>>,
    /// Asks each endpoint in turn whether it is well; without it every endpoint counts as healthy.
    #[serde(default)]
    pub check: Option<CheckConfig>,
    /// Speaks TLS with the endpoints.
    #[serde(default)]
    pub tls: Option<UpstreamTlsConfig>,
    /// How long connecting may take, TLS included.
    #[serde(default = "default_connect_timeout")]
    pub connect_timeout: Period,
    /// How long an endpoint may be silent while a response is awaited or read.
    #[serde(default = "default_read_timeout")]
    pub read_timeout: Period,
    /// How long an endpoint may take to accept a piece of a request.
    #[serde(default = "default_read_timeout")]
    pub write_timeout: Period,
    /// How long an idle connection is kept for the next request.
    #[serde(default = "default_idle_timeout")]
    pub idle_timeout: Period,
    /// How many other endpoints are tried when one cannot be connected to.
    #[serde(default = "default_retries")]
    pub retries: Located<u8>,
}

/// A member of a cluster.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EndpointConfig {
    /// Host and port. A name is looked up every 10 s, and its first address used.
    pub address: Located<String>,
    /// Its share of the requests; 0 drains it.
    #[serde(default = "default_weight")]
    pub weight: Located<u32>,
}

/// How the health of endpoints is checked: a GET that must be answered with a 2xx or 3xx status.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckConfig {
    /// The path to ask for.
    #[serde(default = "default_check_path")]
    pub path: Located<String>,
    /// The `Host` to ask for; the endpoint's own address when it is not set.
    #[serde(default)]
    pub host: Option<String>,
    /// The time between two checks of an endpoint, spread by a tenth.
    #[serde(default = "default_check_interval")]
    pub interval: Located<Period>,
    /// How long an answer may take.
    #[serde(default = "default_check_timeout")]
    pub timeout: Period,
    /// How many good answers in a row make an unhealthy endpoint healthy. The first check of all decides alone.
    #[serde(default = "default_threshold")]
    pub rise: Located<u32>,
    /// How many bad answers in a row make a healthy endpoint unhealthy.
    #[serde(default = "default_threshold")]
    pub fall: Located<u32>,
}

/// How the gateway speaks TLS with endpoints.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpstreamTlsConfig {
    /// The name that the endpoints' certificates must carry, also sent as SNI.
    pub server_name: Located<String>,
    /// File with the authorities to trust, in PEM; the system's when it is not set.
    #[serde(default)]
    pub ca: Option<Located<PathBuf>>,
}

/// Which requests go where.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RouteConfig {
    /// Its name, for logs and metrics.
    pub name: Located<String>,
    /// Host names, such as `"api.example.com"`, or `"*.example.com"` for every name below; all when it is empty.
    #[serde(default)]
    pub hosts: Vec<Located<String>>,
    /// `"/v1/me"` is that path alone; in `"/v1/users/{id}"` a name in braces
    /// stands for one segment; `"/v1/*"` is `/v1` and every path below.
    #[serde(default = "default_path")]
    pub path: Located<String>,
    /// Methods; all when it is empty. `GET` includes `HEAD`.
    #[serde(default)]
    pub methods: Vec<Located<String>>,
    /// Headers that the request must have, with this value, or with any for `"*"`.
    #[serde(default)]
    pub headers: BTreeMap<Located<String>, Located<String>>,
    /// The cluster that answers.
    pub cluster: Located<String>,
    /// Plugins that the request meets after those of the whole gateway, in this order.
    #[serde(default)]
    pub plugins: Vec<Located<String>>,
}

fn yes() -> bool {
    true
}
const fn default_drain() -> Period {
    Period::from_secs(30)
}
const fn default_connect_timeout() -> Period {
    Period::from_secs(1)
}
const fn default_read_timeout() -> Period {
    Period::from_secs(30)
}
const fn default_idle_timeout() -> Period {
    Period::from_secs(60)
}
fn default_retries() -> Located<u8> {
    Located::nowhere(1)
}
fn default_weight() -> Located<u32> {
    Located::nowhere(1)
}
fn default_check_path() -> Located<String> {
    Located::nowhere("/healthz".into())
}
fn default_check_interval() -> Located<Period> {
    Located::nowhere(Period::from_secs(1))
}
const fn default_check_timeout() -> Period {
    Period::from_millis(500)
}
fn default_threshold() -> Located<u32> {
    Located::nowhere(2)
}
fn default_path() -> Located<String> {
    Located::nowhere("/*".into())
}

/// A table that is of the kind of one of the built-in plugins. Plugins of third parties are not known here.
fn plugin_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
    let kinds: Vec<serde_json::Value> = plugins::BUILTIN
        .iter()
        .map(|registration| {
            let mut schema = (registration.schema)(generator);
            if let Some(properties) = schema.get_mut("properties").and_then(|p| p.as_object_mut()) {
                properties.insert(
                    "kind".into(),
                    serde_json::json!({ "const": registration.kind }),
                );
            }
            schema.insert("title".into(), registration.kind.into());
            schema.to_value()
        })
        .collect();
    schemars::json_schema!({ "type": "object", "additionalProperties": { "anyOf": kinds } })
}
