//! Servers that are to be asked, and are this one: it would ask itself what it does not know.

use std::net::SocketAddr;

use chassis::config::{Diagnostic, Located};
use chassis::net::reaches;

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
    listeners.find(|listener| reaches(address, (*listener.address, listener.dual_stack)))
}
