//! How many connections clients have.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::TcpLimits;
use crate::metrics::{TRANSPORTS, Transport};

/// Counts connections, over all and by client.
#[derive(Clone, Debug, Default)]
pub(crate) struct Clients(Arc<Mutex<Open>>);

#[derive(Debug, Default)]
struct Open {
    all: u32,
    by_transport: [u32; TRANSPORTS.len()],
    by_client: HashMap<IpAddr, u32>,
}

/// A connection that was let in; it counts until this is dropped.
pub(crate) struct Permit {
    clients: Clients,
    /// None while it is not known: then it counts over all alone.
    client: Option<IpAddr>,
    transport: Transport,
}

/// Why a connection is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// There are too many over all.
    Connections,
    /// The client has too many.
    Client,
    /// It does not begin with the PROXY header that it must begin with.
    ProxyHeader,
}

impl Clients {
    /// Lets a connection in that is within the limits.
    pub(crate) fn admit(
        &self,
        address: Option<IpAddr>,
        transport: Transport,
        limits: &TcpLimits,
    ) -> Result<Permit, Refusal> {
        let mut open = self.lock();
        if open.all >= limits.connections {
            return Err(Refusal::Connections);
        }
        let client = address.map(network);
        if let Some(client) = client {
            open.claim(client, limits)?;
        }
        open.all += 1;
        open.by_transport[transport as usize] += 1;
        Ok(Permit {
            clients: self.clone(),
            client,
            transport,
        })
    }

    /// How many are open.
    pub(crate) fn open(&self) -> u32 {
        self.lock().all
    }

    /// How many are open over each transport.
    pub(crate) fn by_transport(&self) -> [u32; TRANSPORTS.len()] {
        self.lock().by_transport
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn claim(&mut self, client: IpAddr, limits: &TcpLimits) -> Result<(), Refusal> {
        let own = self.by_client.entry(client).or_default();
        if *own >= limits.connections_per_client {
            return Err(Refusal::Client);
        }
        *own += 1;
        Ok(())
    }
}

impl Permit {
    /// Counts it as this client's, once that is known.
    pub(crate) fn claim(&mut self, address: IpAddr, limits: &TcpLimits) -> Result<(), Refusal> {
        let client = network(address);
        if self.client.is_none() {
            self.clients.lock().claim(client, limits)?;
            self.client = Some(client);
        }
        Ok(())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut open = self.clients.lock();
        open.all = open.all.saturating_sub(1);
        let same = &mut open.by_transport[self.transport as usize];
        *same = same.saturating_sub(1);
        let Some(client) = self.client else {
            return;
        };
        if let Some(own) = open.by_client.get_mut(&client) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                open.by_client.remove(&client);
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
        let admit =
            |address: &str| clients.admit(Some(address.parse().unwrap()), Transport::Tls, &limits);
        let first = admit("2001:db8::1").ok();
        let second = admit("2001:db8::2").ok();
        assert!(first.is_some() && second.is_some());
        assert_eq!(admit("2001:db8::3").err(), Some(Refusal::Client));
        let third = admit("192.0.2.1").ok();
        assert_eq!(admit("192.0.2.2").err(), Some(Refusal::Connections));
        drop((first, third));
        assert_eq!(clients.open(), 1);
        assert_eq!(clients.by_transport()[Transport::Tls as usize], 1);
        assert!(admit("2001:db8::3").is_ok());
    }

    #[test]
    fn who_comes_through_a_proxy_is_counted_once_it_is_known() {
        let limits = TcpLimits {
            connections_per_client: 1,
            ..TcpLimits::default()
        };
        let clients = Clients::default();
        let through = || clients.admit(None, Transport::Tcp, &limits).unwrap();
        let (mut first, mut second) = (through(), through());
        let client = "192.0.2.1".parse().unwrap();
        assert_eq!(first.claim(client, &limits), Ok(()));
        assert_eq!(second.claim(client, &limits), Err(Refusal::Client));
        drop((first, second));
        assert_eq!(clients.open(), 0);
        assert_eq!(through().claim(client, &limits), Ok(()));
    }
}
