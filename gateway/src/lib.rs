//! The L7 gateway: listeners, routes and clusters, with a relay of our own for HTTP/1.1 upstreams and
//! Pingora's proxy for all others.
//!
//! ```text
//! Config --compile(previous)--> State --one ArcSwap--> every request loads it once
//! accept loop -> (TLS) -> h1 or h2 -> exchange: route -> plugins -> cluster picks an endpoint
//!   -> relay, or proxy -> plugins in reverse -> logs, counts
//! ```
//!
//! A gateway with plugins of one's own is a `main` of a few lines:
//! [`Gateway::builder`], [`Builder::plugin`], [`Gateway::main`].

mod acme;
mod cluster;
mod compile;
mod config;
mod deadline;
mod exchange;
mod gateway;
pub mod h1;
pub mod h2;
mod metrics;
mod pace;
mod proxy;
pub mod refusal;
pub mod relay;
mod role;
mod route;
mod serve;
mod state;
mod tls;

pub use self::config::{
    AcmeConfig, CertificateConfig, Challenge, CheckConfig, ClientCertificates,
    ClientCertificatesConfig, ClusterConfig, Config, DotSegments, Doubtful, EmptySegments,
    EndpointConfig, ExternalAccountConfig, Http1Config, Http2Config, IssueConfig, LimitsConfig,
    ListenerConfig, ListenerLimitsConfig, OneOrMore, PathsConfig, Protocol, ProxyHeader,
    ProxyProtocol, RouteConfig, TicketsConfig, TimeoutsConfig, TlsConfig, TlsVersion, UnknownNames,
    UpstreamHttp2Config, UpstreamTlsConfig,
};
pub use self::gateway::{Builder, Gateway};
pub use chassis::life::RoleArgs;
pub use plugins;
