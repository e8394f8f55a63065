//! Checks as they are written, and judged: what roles that look after endpoints have in common.

mod compile;
mod config;

pub use self::compile::{Check, Checks};
pub use self::config::{
    CheckConfig, CheckedType, DnsCheckConfig, HttpCheckConfig, Start, TcpCheckConfig,
    TlsCheckConfig, TlsOnlyCheckConfig, UdpCheckConfig,
};
