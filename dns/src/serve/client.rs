//! How many connections clients have.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chassis::net::client_network;
use tokio::sync::Notify;

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
    /// Whose handshake is not done, the oldest first.
    handshakes: BTreeMap<u64, Arc<Notify>>,
    /// The number of the next handshake.
    next: u64,
    /// Handshakes that were told to end, and have not yet.
    ending: u32,
}

/// A connection that was let in; it counts until this is dropped.
pub(crate) struct Permit {
    clients: Clients,
    /// None while it is not known: then it counts over all alone.
    client: Option<IpAddr>,
    transport: Transport,
    /// None once it is done, and where there is none.
    handshake: Option<Handshake>,
}

/// A handshake that is not done.
struct Handshake {
    number: u64,
    end: Arc<Notify>,
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
    /// Its handshake was the oldest of too many that were not done.
    Handshake,
}

impl Clients {
    /// Lets a connection in that is within the limits. One with a handshake may be told to end until that is done: when
    /// such connections take more than their share, or there is no place left, the oldest makes room. Who does not get
    /// through a handshake so takes no place from those that do, nor from plain TCP.
    pub(crate) fn admit(
        &self,
        address: Option<IpAddr>,
        (transport, handshake): (Transport, bool),
        limits: &TcpLimits,
    ) -> Result<Permit, Refusal> {
        let mut open = self.lock();
        let client = address.map(client_network);
        if client.is_some_and(|client| open.has_enough(client, limits)) {
            return Err(Refusal::Client);
        }
        let share = (limits.connections / 2).max(1) as usize;
        let full = open.all.saturating_sub(open.ending) >= limits.connections;
        let crowded = handshake && open.handshakes.len() >= share;
        if (full || crowded) && !open.end_oldest() {
            return Err(Refusal::Connections);
        }
        if let Some(client) = client {
            *open.by_client.entry(client).or_default() += 1;
        }
        open.all += 1;
        open.by_transport[transport as usize] += 1;
        Ok(Permit {
            clients: self.clone(),
            client,
            transport,
            handshake: handshake.then(|| open.begin()),
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
    fn has_enough(&self, client: IpAddr, limits: &TcpLimits) -> bool {
        let own = self.by_client.get(&client).copied();
        own.unwrap_or_default() >= limits.connections_per_client
    }

    fn begin(&mut self) -> Handshake {
        let (number, end) = (self.next, Arc::new(Notify::new()));
        self.next += 1;
        self.handshakes.insert(number, end.clone());
        Handshake { number, end }
    }

    /// Tells the oldest handshake to end; false when there is none.
    fn end_oldest(&mut self) -> bool {
        let Some((_, end)) = self.handshakes.pop_first() else {
            return false;
        };
        end.notify_one();
        self.ending += 1;
        true
    }

    /// A handshake has ended, one way or the other.
    fn leave(&mut self, handshake: &Handshake) {
        if self.handshakes.remove(&handshake.number).is_none() {
            self.ending = self.ending.saturating_sub(1);
        }
    }
}

impl Permit {
    /// Counts it as this client's, once that is known.
    pub(crate) fn claim(&mut self, address: IpAddr, limits: &TcpLimits) -> Result<(), Refusal> {
        let client = client_network(address);
        if self.client.is_none() {
            let mut open = self.clients.lock();
            if open.has_enough(client, limits) {
                return Err(Refusal::Client);
            }
            *open.by_client.entry(client).or_default() += 1;
            self.client = Some(client);
        }
        Ok(())
    }

    /// Waits until its handshake has to end to make room; for ever where there is none.
    pub(crate) async fn must_end(&self) {
        match &self.handshake {
            Some(handshake) => handshake.end.notified().await,
            None => std::future::pending().await,
        }
    }

    /// Its handshake is done: from here on it counts as any other connection.
    pub(crate) fn handshake_done(&mut self) {
        if let Some(handshake) = self.handshake.take() {
            self.clients.lock().leave(&handshake);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut open = self.clients.lock();
        if let Some(handshake) = &self.handshake {
            open.leave(handshake);
        }
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

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    #[test]
    fn clients_are_counted_by_network() {
        let limits = TcpLimits {
            connections: 3,
            connections_per_client: 2,
            ..TcpLimits::default()
        };
        let clients = Clients::default();
        let admit = |address: &str| {
            let address = Some(address.parse().unwrap());
            clients.admit(address, (Transport::Tls, false), &limits)
        };
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
        let through = || {
            clients
                .admit(None, (Transport::Tcp, false), &limits)
                .unwrap()
        };
        let (mut first, mut second) = (through(), through());
        let client = "192.0.2.1".parse().unwrap();
        assert_eq!(first.claim(client, &limits), Ok(()));
        assert_eq!(second.claim(client, &limits), Err(Refusal::Client));
        drop((first, second));
        assert_eq!(clients.open(), 0);
        assert_eq!(through().claim(client, &limits), Ok(()));
    }

    #[test]
    fn handshakes_that_are_not_done_leave_half_of_the_places() {
        let limits = TcpLimits {
            connections: 8,
            connections_per_client: 100,
            ..TcpLimits::default()
        };
        let clients = Clients::default();
        let admit = |transport| {
            let address = Some("192.0.2.1".parse().unwrap());
            let handshake = transport == Transport::Tls;
            clients.admit(address, (transport, handshake), &limits)
        };
        let told = |permit: &Permit| {
            let polled = pin!(permit.must_end()).poll(&mut Context::from_waker(Waker::noop()));
            polled.is_ready()
        };
        let mut halves: Vec<_> = (0..4).map(|_| admit(Transport::Tls).unwrap()).collect();
        assert!(!halves.iter().any(told), "there is room");
        // One more: the oldest has to go, and counts until it does.
        halves.push(admit(Transport::Tls).unwrap());
        assert!(told(&halves[0]));
        assert!(!halves[1..].iter().any(told));
        assert_eq!(clients.open(), 5);
        drop(halves.remove(0));
        let _plain = [(); 4].map(|()| admit(Transport::Tcp).unwrap());
        assert!(!halves.iter().any(told), "there were four places left");
        // Who is through has its place; the next one has to go for plain TCP.
        halves[0].handshake_done();
        let _last = admit(Transport::Tcp).unwrap();
        assert_eq!(
            halves.iter().map(told).collect::<Vec<_>>(),
            [false, true, false, false]
        );
        halves.remove(1);
        assert_eq!(clients.open(), 8);
        halves.iter_mut().for_each(Permit::handshake_done);
        assert_eq!(admit(Transport::Tls).err(), Some(Refusal::Connections));
    }
}
