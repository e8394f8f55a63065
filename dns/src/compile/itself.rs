//! Servers that are to be asked, and are this one: it would ask itself what it does not know.

use std::net::{IpAddr, SocketAddr};

use chassis::config::{Diagnostic, Located};

use crate::alias;
use crate::config::{Config, ListenerConfig};

/// Finds primaries and resolvers that are listeners of this server.
pub(super) fn judge(config: &Config, mistakes: &mut Vec<Diagnostic>) {
    let primaries = config.zone.iter().flat_map(|zone| &zone.primary);
    for primary in primaries {
        let address = &primary.address;
        if let Some(listener) = own(config, **address) {
            let help = "a primary is another server, which has the zone";
            mistakes.push(wrong(address, listener).help(help));
        }
    }
    for server in &config.resolver.servers {
        if let Some(listener) = alias::resolver(server)
            .ok()
            .and_then(|address| own(config, address))
        {
            let help = "a resolver is another server, which knows the names of others";
            mistakes.push(wrong(server, listener).help(help));
        }
    }
}

fn wrong<T>(written: &Located<T>, listener: &ListenerConfig) -> Diagnostic {
    written.wrong(format!(
        "this is the listener `{}` of this server itself",
        *listener.name
    ))
}

fn own(config: &Config, address: SocketAddr) -> Option<&ListenerConfig> {
    let mut listeners = config.listener.iter();
    listeners.find(|listener| hears(listener, address))
}

/// Whether what is sent to an address comes to a listener, as far as that follows from the configuration: other addresses
/// of this machine are not known.
fn hears(listener: &ListenerConfig, address: SocketAddr) -> bool {
    let (at, to) = (listener.address.ip(), address.ip().to_canonical());
    let same_port = listener.address.port() == address.port() && address.port() != 0;
    // Who sends to no address in particular sends to this machine.
    let to = match to.is_unspecified() {
        true if to.is_ipv4() => IpAddr::from([127, 0, 0, 1]),
        true => IpAddr::from(std::net::Ipv6Addr::LOCALHOST),
        false => to,
    };
    let every = at.is_unspecified() && (at.is_ipv4() == to.is_ipv4() || listener.dual_stack);
    same_port && (at == to || every && to.is_loopback())
}
