//! The plugin contract and every built-in plugin, one file or folder each.
//!
//! A plugin sees heads, bodies and facts of the connection ([`Request`],
//! [`Response`], [`Exchange`]) and its own compiled state; never a socket and
//! never the proxy that carries the bytes. [`testing`] runs one without either.

mod access_log;
mod chain;
mod client_certificate;
mod cors;
mod exchange;
mod head;
mod headers;
mod jwt;
mod plugin;
mod rate_limit;
mod registry;
mod request_id;
pub mod testing;
mod tls;

pub use chassis::config::{Diagnostic, Located};
pub use chassis::problem::Problem;
pub use chassis::units::{Period, Size};
pub use http;

pub use self::chain::{Chain, Link, metrics};
pub use self::exchange::{Client, Exchange, Identity, RequestId};
pub use self::head::{Field, Fields, RequestHead, ResponseHead, Value};
pub use self::plugin::{
    Bodies, Finished, Flow, Later, Piece, Plugin, Reply, ReplyBody, Request, Response,
};
pub use self::registry::{Registration, Setting};
pub use self::tls::{ClientCertificate, TlsSession};

/// Every built-in plugin, in the order in which a request should usually meet them.
///
/// The order that counts is the one of the `plugins` lists in the
/// configuration: it is the order of execution.
pub const BUILTIN: &[Registration] = &[
    request_id::REGISTRATION,
    access_log::REGISTRATION,
    cors::REGISTRATION,
    rate_limit::REGISTRATION,
    client_certificate::REGISTRATION,
    jwt::REGISTRATION,
    headers::REGISTRATION,
];
