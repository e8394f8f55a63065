//! Listeners, as they are written.

use chassis::config::Located;
use chassis::net::{Address, FileMode, ListenOptions, TcpConfig};
use chassis::units::Size;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Http1Config, Http2Config, PathsConfig, ProxyHeader, TimeoutsConfig, TlsConfig};

/// A socket that clients connect to.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListenerConfig {
    /// Its name, for logs and metrics.
    pub name: Located<String>,
    /// Address and port, such as `"0.0.0.0:80"` or `"[::]:80"`, where port 0 takes a free one; or
    /// a Unix socket, such as `"unix:/run/tidegate.sock"`. A socket that systemd has passed for
    /// this address, or by the name of the listener, is taken.
    pub address: Located<Address>,
    /// With the address `[::]`, takes IPv4 clients too.
    #[serde(default)]
    pub dual_stack: Located<bool>,
    /// How many connections may wait to be accepted; the kernel's `net.core.somaxconn` is the most.
    #[serde(default = "default_backlog")]
    pub backlog: Located<u16>,
    /// Who may connect to a Unix socket, such as `"0660"`; as the umask has it when it is not set.
    #[serde(default)]
    pub mode: Option<Located<FileMode>>,
    /// Options of TCP.
    #[serde(default)]
    pub tcp: Located<TcpConfig>,
    /// Limits of its connections. One over a limit is closed at once.
    #[serde(default)]
    pub limits: ListenerLimitsConfig,
    /// Speaks TLS with clients; plain HTTP when it is not set.
    #[serde(default)]
    pub tls: Option<Located<TlsConfig>>,
    /// Accepts HTTP/2 without TLS from clients that know that it does.
    #[serde(default)]
    pub h2c: Located<bool>,
    /// The longest body of a request; 413 beyond it. No limit when it is not set.
    #[serde(default)]
    pub body: Option<Size>,
    /// What the head of an HTTP/1.1 request may measure.
    #[serde(default)]
    pub http1: Http1Config,
    /// How long a client may take.
    #[serde(default)]
    pub timeouts: TimeoutsConfig,
    /// What is done with paths that servers read differently.
    #[serde(default)]
    pub paths: PathsConfig,
    /// Lets through headers with an underscore in their name. They are dropped otherwise: a CGI, and much
    /// that is made like one, takes `x_user_id` for `x-user-id`.
    #[serde(default)]
    pub underscores: bool,
    /// Networks of proxies before this one, such as `"10.0.0.0/8"`: what their PROXY headers,
    /// `Forwarded` and `X-Forwarded-For` say is believed. All others are not.
    #[serde(default)]
    pub trusted: Vec<Located<String>>,
    /// Whether connections begin with a PROXY header (version 1 or 2).
    #[serde(default)]
    pub proxy_protocol: Located<ProxyHeader>,
    /// How it speaks HTTP/2, and how much of it a client may ask for.
    #[serde(default)]
    pub http2: Http2Config,
}

/// Limits of the connections of a listener.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListenerLimitsConfig {
    /// Connections at a time; no limit of its own when it is not set.
    #[serde(default)]
    pub connections: Option<Located<u32>>,
    /// Connections at a time from one client: an IPv4 address, or a /64 of IPv6, which is what one
    /// subscriber gets. No limit when it is not set.
    #[serde(default)]
    pub per_client: Option<Located<u32>>,
}

/// Limits of the whole process.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitsConfig {
    /// Connections of clients at a time; one over it is closed at once. When it is not set, as many as
    /// the process may have open files, less an eighth (at least 32) for checks, the admin listener
    /// and files.
    #[serde(default)]
    pub connections: Option<Located<u32>>,
}

fn default_backlog() -> Located<u16> {
    Located::nowhere(ListenOptions::default().backlog)
}
