//! The resolver's configuration, judged.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use chassis::config::{Diagnostic, Located};

use super::config::ResolverConfig;

/// How targets are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Resolving {
    /// Those of the system when there are none.
    pub(super) servers: Vec<SocketAddr>,
    pub(super) timeout: Duration,
    pub(super) soonest: Duration,
    pub(super) latest: Duration,
    pub(super) stale: Duration,
    pub(super) private: bool,
}

impl Resolving {
    /// Judges a configuration. Every mistake is added, with its place.
    pub(crate) fn compile(config: &ResolverConfig, mistakes: &mut Vec<Diagnostic>) -> Self {
        let servers = config.servers.iter().filter_map(|server| {
            let address = resolver(server);
            mistakes.extend(address.as_ref().err().cloned());
            address.ok()
        });
        let servers = servers.collect();
        if config.timeout.is_zero() {
            mistakes.push(config.timeout.wrong("must be more than nothing"));
        }
        if config.soonest.as_secs() == 0 {
            mistakes.push(config.soonest.wrong("must be 1s at least"));
        }
        if config.latest.as_secs() < config.soonest.as_secs() {
            let what = "`latest` is not sooner than `soonest`";
            mistakes.push(config.latest.wrong(what));
        }
        Self {
            servers,
            timeout: **config.timeout,
            soonest: **config.soonest,
            latest: **config.latest,
            stale: **config.stale,
            private: config.private,
        }
    }
}

/// The address of a resolver, on port 53 unless it says another.
///
/// # Errors
/// When it is no address.
pub(crate) fn resolver(written: &Located<String>) -> Result<SocketAddr, Diagnostic> {
    let whole = written.parse::<SocketAddr>();
    let address = whole.or_else(|_| written.parse::<IpAddr>().map(|ip| (ip, 53).into()));
    match address {
        Ok(address) if address.port() > 0 => Ok(address),
        _ => Err(written
            .wrong("not an address")
            .help("write `\"192.0.2.53\"`, or `\"192.0.2.53:5300\"` for another port than 53")),
    }
}
