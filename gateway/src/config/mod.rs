//! The gateway's configuration file, as it is written. What it means is judged by `compile`.

use std::collections::BTreeMap;

use chassis::config::{Located, Raw};
use chassis::life::AdminConfig;
use chassis::net::handover::HandoverConfig;
use chassis::telemetry::LogConfig;
use chassis::units::Period;
use schemars::JsonSchema;
use serde::Deserialize;

mod acme;
mod cluster;
mod http;
mod http2;
mod listener;
mod protocol;
mod tls;

pub use chassis::net::proxy_protocol::ProxyHeader;
pub use chassis::tls::{CertificateConfig, TicketsConfig, TlsVersion};

pub use self::acme::{AcmeConfig, Challenge, ExternalAccountConfig, IssueConfig, OneOrMore};
pub use self::cluster::{CheckConfig, ClusterConfig, EndpointConfig, UpstreamTlsConfig};
pub use self::http::{
    DotSegments, Doubtful, EmptySegments, Http1Config, PathsConfig, TimeoutsConfig,
};
pub use self::http2::Http2Config;
pub use self::listener::{LimitsConfig, ListenerConfig, ListenerLimitsConfig};
pub use self::protocol::{Protocol, ProxyProtocol, UpstreamHttp2Config};
pub use self::tls::{ClientCertificates, ClientCertificatesConfig, TlsConfig, UnknownNames};

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
    /// How a newer process can take this one's place without a refused connection, with
    /// `tidegate handover`.
    #[serde(default)]
    pub handover: Option<HandoverConfig>,
    /// Limits of the whole process.
    #[serde(default)]
    pub limits: LimitsConfig,
    /// Where clients connect.
    #[serde(default)]
    pub listener: Vec<ListenerConfig>,
    /// Certificate authorities that issue certificates for listeners, by name.
    #[serde(default)]
    pub acme: BTreeMap<Located<String>, AcmeConfig>,
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
    /// Translates gRPC-Web into gRPC, so that pages in browsers can call gRPC services. The
    /// cluster speaks HTTP/2. The variant of it in base64 (`grpc-web-text`) is refused with 415.
    #[serde(default)]
    pub grpc_web: bool,
    /// Plugins that the request meets after those of the whole gateway, in this order.
    #[serde(default)]
    pub plugins: Vec<Located<String>>,
}

const fn default_drain() -> Period {
    Period::from_secs(30)
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
