//! How listeners speak HTTP, as it is compiled.

use std::net::IpAddr;
use std::time::Duration;

use chassis::config::{Diagnostic, Located};
use chassis::units::{Period, Size};
use ipnet::IpNet;

use super::Findings;
use crate::config::{Http1Config, TimeoutsConfig};
use crate::h1::head::HeadLimits;
use crate::state::Timeouts;

pub(super) fn http1(config: &Http1Config) -> HeadLimits {
    let bytes = |size: Size| usize::try_from(size.bytes()).unwrap_or(usize::MAX);
    HeadLimits {
        request_line: bytes(config.request_line),
        header: bytes(config.header),
        headers: bytes(config.headers),
        count: usize::from(config.header_count),
    }
}

pub(super) fn timeouts(config: &TimeoutsConfig) -> Result<Timeouts, Diagnostic> {
    Ok(Timeouts {
        handshake: time(&config.handshake)?,
        head: time(&config.head)?,
        body_read: time(&config.body_read)?,
        body_rate: config.body_rate.bytes(),
        body: config.body.as_ref().map(time).transpose()?,
        request: config.request.as_ref().map(time).transpose()?,
        idle: time(&config.idle)?,
        write: time(&config.write)?,
        tunnel: time(&config.tunnel)?,
        linger: time(&config.linger)?,
    })
}

fn time(value: &Located<Period>) -> Result<Duration, Diagnostic> {
    match value.as_millis() {
        10..=2_592_000_000 => Ok(***value),
        _ => Err(value.wrong("must be from 10ms to 30d")),
    }
}

/// Networks, or single addresses.
pub(super) fn networks(texts: &[Located<String>], findings: &mut Findings) -> Vec<IpNet> {
    let network = |text: &Located<String>| {
        let network = text.parse().or_else(|_| text.parse().map(IpAddr::into));
        network.map_err(|_| {
            text.wrong(format!("`{}` is not a network", **text))
                .help("write \"10.0.0.0/8\", \"2001:db8::/32\" or one address")
        })
    };
    let networks = texts.iter().map(network);
    networks.filter_map(|one| findings.keep(one)).collect()
}
