//! Which addresses the roles get.

use std::net::{SocketAddr, TcpListener};

use super::{Ports, UpError};

/// An address of the edge, and the variable that the configurations read it from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Address {
    pub(super) name: &'static str,
    pub(super) variable: &'static str,
    pub(super) address: SocketAddr,
}

/// Every address of the edge.
pub(super) struct Addresses(pub(super) Vec<Address>);

const USUAL: [(&str, &str, u16); 10] = [
    ("gateway http", "TIDEGATE_HTTP", 9080),
    ("gateway https", "TIDEGATE_HTTPS", 9443),
    ("gateway admin", "TIDEGATE_GATEWAY_ADMIN", 9901),
    ("l4 http", "TIDEGATE_L4_HTTP", 8080),
    ("l4 https", "TIDEGATE_L4_HTTPS", 8443),
    ("l4 admin", "TIDEGATE_L4_ADMIN", 9904),
    ("dns", "TIDEGATE_DNS", 5300),
    ("dns admin", "TIDEGATE_DNS_ADMIN", 9953),
    ("users", "TIDEGATE_USERS", 7001),
    ("users admin", "TIDEGATE_USERS_ADMIN", 7901),
];

impl Addresses {
    /// The usual or free ports; each was free a moment ago.
    pub(super) fn choose(ports: Ports) -> Result<Self, UpError> {
        let mut held = Vec::new();
        let mut addresses = Vec::new();
        for (name, variable, port) in USUAL {
            let wanted = wanted(variable, port)?;
            let listener = match ports {
                Ports::Auto => servers::bind_free(),
                Ports::Fixed => TcpListener::bind(wanted),
            };
            let listener = listener.map_err(|error| UpError::Port {
                name,
                address: wanted,
                variable,
                error,
            })?;
            addresses.push(Address {
                name,
                variable,
                address: listener.local_addr()?,
            });
            held.push(listener); // all at once, so that none is given twice
        }
        Ok(Self(addresses))
    }

    /// The address under a name.
    pub(super) fn of(&self, name: &str) -> SocketAddr {
        let found = self.0.iter().find(|address| address.name == name);
        found.expect("names are those of `USUAL`").address
    }
}

fn wanted(variable: &'static str, port: u16) -> Result<SocketAddr, UpError> {
    match std::env::var(variable) {
        Err(_) => Ok(SocketAddr::from(([127, 0, 0, 1], port))),
        Ok(value) => value
            .parse()
            .map_err(|_| UpError::Address { variable, value }),
    }
}
