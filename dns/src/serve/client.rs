//! How many connections clients have.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use super::TcpLimits;

/// Counts connections, over all and by client.
#[derive(Clone, Debug, Default)]
pub(crate) struct Clients(Arc<Mutex<Open>>);

#[derive(Debug, Default)]
struct Open {
    all: u32,
    by_client: HashMap<IpAddr, u32>,
}

/// A connection that was let in; it counts until this is dropped.
pub(crate) struct Permit {
    clients: Clients,
    client: IpAddr,
}

/// Why a connection is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// There are too many over all.
    Connections,
    /// The client has too many.
    Client,
}

impl Clients {
    /// Lets a connection in that is within the limits.
    pub(crate) fn admit(&self, address: IpAddr, limits: &TcpLimits) -> Result<Permit, Refusal> {
        let client = network(address);
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if open.all >= limits.connections {
            return Err(Refusal::Connections);
        }
        let own = open.by_client.entry(client).or_default();
        if *own >= limits.connections_per_client {
            return Err(Refusal::Client);
        }
        *own += 1;
        open.all += 1;
        Ok(Permit {
            clients: self.clone(),
            client,
        })
    }

    /// How many are open.
    pub(crate) fn open(&self) -> u32 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).all
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut open = self
            .clients
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        open.all = open.all.saturating_sub(1);
        if let Some(own) = open.by_client.get_mut(&self.client) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                open.by_client.remove(&self.client);
            }
        }
    }
}

/// A client: whoever has one address of an IPv6 /64 has all of them.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64)).into(),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_counted_by_network() {
        let limits = TcpLimits {
            connections: 3,
            connections_per_client: 2,
            ..TcpLimits::default()
        };
        let clients = Clients::default();
        let admit = |address: &str| clients.admit(address.parse().unwrap(), &limits);
        let first = admit("2001:db8::1").ok();
        let second = admit("2001:db8::2").ok();
        assert!(first.is_some() && second.is_some());
        assert_eq!(admit("2001:db8::3").err(), Some(Refusal::Client));
        let third = admit("192.0.2.1").ok();
        assert_eq!(admit("192.0.2.2").err(), Some(Refusal::Connections));
        drop((first, third));
        assert_eq!(clients.open(), 1);
        assert!(admit("2001:db8::3").is_ok());
    }
}
