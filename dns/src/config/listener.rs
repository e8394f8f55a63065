//! Where clients ask, and what each may take.

use std::net::SocketAddr;
use std::path::PathBuf;

use chassis::config::Located;
use chassis::net::proxy_protocol::ProxyHeader;
use chassis::tls::{CertificateConfig, TicketsConfig, TlsVersion};
use chassis::units::{Period, Size};
use schemars::JsonSchema;
use serde::Deserialize;

/// Where clients ask: over UDP and TCP; with `tls` over TLS instead, with `http` over HTTP, with both over HTTPS.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListenerConfig {
    /// Its name, for logs, metrics and hand-overs.
    pub name: Located<String>,
    /// Address and port; port 0 takes one that is free for both UDP and TCP. On `0.0.0.0` and `[::]` answers leave
    /// from the address that was asked.
    pub address: Located<SocketAddr>,
    /// Whether an IPv6 listener takes IPv4 clients too.
    #[serde(default)]
    pub dual_stack: bool,
    /// Speaks TLS (DNS over TLS, RFC 7858, port 853; with `http`, HTTPS). There is no UDP then.
    #[serde(default)]
    pub tls: Option<Located<TlsConfig>>,
    /// Speaks HTTP/2 and HTTP/1.1 (DNS over HTTPS, RFC 8484, port 443). Without `tls`, for a proxy in front that has it.
    /// There is no UDP then.
    #[serde(default)]
    pub http: Option<HttpConfig>,
    /// Networks of proxies before this one, such as `"10.0.0.0/8"`: what their PROXY headers and `X-Forwarded-For`
    /// say of clients is believed. All others are not.
    #[serde(default)]
    pub trusted: Vec<Located<String>>,
    /// Whether connections begin with a PROXY header (version 1 or 2). Datagrams never do.
    #[serde(default)]
    pub proxy_protocol: Located<ProxyHeader>,
}

/// How a listener speaks TLS.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// File with the default certificate and its chain, in PEM.
    pub certificate: Located<PathBuf>,
    /// File with its private key, in PEM.
    pub key: Located<PathBuf>,
    /// More certificates. A client gets the one with the host name that it asks for.
    #[serde(default)]
    pub certificates: Vec<CertificateConfig>,
    /// The versions that are spoken.
    #[serde(default = "default_versions")]
    pub versions: Located<Vec<TlsVersion>>,
    /// How clients can go on with an earlier session.
    #[serde(default)]
    pub tickets: TicketsConfig,
    /// A handshake must be done within so long.
    #[serde(default = "default_handshake")]
    pub handshake: Located<Period>,
}

/// How a listener speaks HTTP.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HttpConfig {
    /// The path that queries are sent to.
    pub path: Located<String>,
    /// Requests that may be under way on one HTTP/2 connection.
    pub streams: Located<u16>,
}

/// Answers over UDP.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UdpConfig {
    /// The longest answer in octets, from 512 to 4096; a client that takes less gets less. What does not
    /// fit is asked again over TCP. Beyond 1232 answers are cut into fragments on their way, which get lost.
    pub largest: Located<u16>,
    /// How many octets wait in the kernel for a thread that is busy. It doubles the number.
    pub receive_buffer: Located<Size>,
}

/// Connections: over TCP, TLS and HTTP.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TcpLimitsConfig {
    /// Connections at a time, over all.
    pub connections: Located<u32>,
    /// Connections at a time of one client: an IPv4 address, or an IPv6 /64.
    pub connections_per_client: Located<u32>,
    /// A connection without a query ends after so long (RFC 7766, 6.2.3).
    pub idle: Located<Period>,
    /// A query that has begun must be there, and an answer taken, within so long; also a PROXY header, and the body of a
    /// request.
    pub progress: Located<Period>,
    /// Queries that may be sent over one connection.
    pub queries: Located<u32>,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            path: Located::nowhere("/dns-query".into()),
            streams: Located::nowhere(100),
        }
    }
}

impl Default for UdpConfig {
    fn default() -> Self {
        Self {
            largest: Located::nowhere(1232),
            receive_buffer: Located::nowhere(Size::from_kib(1024)),
        }
    }
}

impl Default for TcpLimitsConfig {
    fn default() -> Self {
        Self {
            connections: Located::nowhere(1000),
            connections_per_client: Located::nowhere(20),
            idle: Located::nowhere(Period::from_secs(10)),
            progress: Located::nowhere(Period::from_secs(3)),
            queries: Located::nowhere(10_000),
        }
    }
}

fn default_versions() -> Located<Vec<TlsVersion>> {
    Located::nowhere(vec![TlsVersion::V12, TlsVersion::V13])
}

fn default_handshake() -> Located<Period> {
    Located::nowhere(Period::from_secs(5))
}
