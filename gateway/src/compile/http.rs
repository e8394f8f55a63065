//! How listeners speak HTTP, as it is compiled.

use std::net::IpAddr;
use std::time::Duration;

use chassis::config::Located;
use chassis::units::Size;
use ipnet::IpNet;

use super::Findings;
use crate::config::{Http1Config, TimeoutsConfig};
use crate::h1::head::HeadLimits;
use crate::state::{Http1, Timeouts};

pub(super) fn http1(config: &Http1Config) -> Http1 {
    let bytes = |size: Size| usize::try_from(size.bytes()).unwrap_or(usize::MAX);
    Http1 {
        head: HeadLimits {
            request_line: bytes(config.request_line),
            header: bytes(config.header),
            headers: bytes(config.headers),
            count: usize::from(config.header_count),
        },
        body: config.body.map(Size::bytes),
    }
}

pub(super) fn timeouts(config: &TimeoutsConfig) -> Timeouts {
    Timeouts {
        handshake: *config.handshake,
        head: *config.head,
        body_read: *config.body_read,
        body_rate: config.body_rate.bytes(),
        body: config.body.map(Duration::from),
        request: config.request.map(Duration::from),
        idle: *config.idle,
        write: *config.write,
        tunnel: *config.tunnel,
        linger: *config.linger,
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
