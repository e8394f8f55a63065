//! How many connections a listener has, of whom, and how fast new ones may come.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use chassis::net::client_network;
use rustc_hash::FxHashMap;

use crate::state::Limits;

/// Counts the connections of a listener.
#[derive(Debug)]
pub(crate) struct Admission {
    open: AtomicU32,
    /// Connections by client, only while a limit needs them; in parts, so that threads seldom wait for each other.
    clients: [Mutex<FxHashMap<IpAddr, u32>>; PARTS],
    began: Instant,
    /// When the next connection would be on time, in nanoseconds after the beginning.
    next: AtomicU64,
}

/// A connection that was let in; it counts until this is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    admission: Arc<Admission>,
    /// None while the client is not counted.
    client: Option<IpAddr>,
}

/// Why a connection is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// The listener has too many.
    Listener,
    /// The client has too many.
    Client,
    /// They come too fast.
    Rate,
}

const PARTS: usize = 64;

impl Admission {
    /// Nobody is connected.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            open: 0.into(),
            clients: std::array::from_fn(|_| Mutex::default()),
            began: now,
            next: 0.into(),
        }
    }

    /// How many are connected.
    pub(crate) fn open(&self) -> u32 {
        self.open.load(Relaxed)
    }

    /// Lets a connection in that is within the limits of the listener.
    pub(crate) fn admit(self: &Arc<Self>, limits: &Limits, now: Instant) -> Result<Permit, Full> {
        let open = self.open.fetch_add(1, Relaxed);
        let permit = Permit {
            admission: self.clone(),
            client: None,
        };
        if limits.connections.is_some_and(|limit| open >= limit) {
            return Err(Full::Listener);
        }
        match limits.accept_rate {
            Some((rate, burst)) if !self.is_on_time(rate, burst, now) => Err(Full::Rate),
            _ => Ok(permit),
        }
    }

    /// The generic cell rate algorithm (ITU-T I.371): one number says when the next connection would be on time, and
    /// one that is early by less than the burst allows is let in.
    fn is_on_time(&self, rate: u32, burst: u32, now: Instant) -> bool {
        let each = 1_000_000_000 / u64::from(rate.max(1));
        let early = each.saturating_mul(u64::from(burst.max(1)) - 1);
        let now = now.saturating_duration_since(self.began);
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        let step = |next: u64| (next <= now.saturating_add(early)).then(|| next.max(now) + each);
        self.next.fetch_update(Relaxed, Relaxed, step).is_ok()
    }

    fn part(&self, client: IpAddr) -> MutexGuard<'_, FxHashMap<IpAddr, u32>> {
        use std::hash::BuildHasher;
        let hash = rustc_hash::FxBuildHasher.hash_one(client);
        let part = &self.clients[(hash >> 32) as usize % PARTS];
        part.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit {
    /// Counts it as this client's too, where there is a limit for that.
    pub(crate) fn claim(&mut self, client: IpAddr, limits: &Limits) -> Result<(), Full> {
        let Some(limit) = limits.per_client else {
            return Ok(());
        };
        let client = client_network(client);
        let mut part = self.admission.part(client);
        let own = part.entry(client).or_default();
        if *own >= limit {
            return Err(Full::Client);
        }
        *own += 1;
        drop(part);
        self.client = Some(client);
        Ok(())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.admission.open.fetch_sub(1, Relaxed);
        let Some(client) = self.client else {
            return;
        };
        let mut part = self.admission.part(client);
        if let Some(own) = part.get_mut(&client) {
            *own -= 1;
            if *own == 0 {
                part.remove(&client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn connections_are_counted_until_they_end() {
        let admission = Arc::new(Admission::new(Instant::now()));
        let limits = Limits {
            connections: Some(2),
            per_client: Some(1),
            accept_rate: None,
        };
        let admit = || admission.admit(&limits, Instant::now());
        let client = |text: &str| text.parse().expect("it is one");
        let mut one = admit().expect("there is room");
        let mut other = admit().expect("there is room");
        assert_eq!(admit().err(), Some(Full::Listener));
        assert_eq!(one.claim(client("2001:db8::1"), &limits), Ok(()));
        assert_eq!(
            other.claim(client("2001:db8::2"), &limits),
            Err(Full::Client)
        );
        drop(one);
        assert_eq!(other.claim(client("2001:db8::2"), &limits), Ok(()));
        drop(other);
        assert_eq!(admission.open(), 0);
        assert!(
            admission
                .clients
                .iter()
                .all(|part| part.lock().unwrap().is_empty())
        );
    }

    #[test]
    fn a_rate_lets_as_many_in_as_it_says() {
        let start = Instant::now();
        let admission = Arc::new(Admission::new(start));
        let limits = Limits {
            accept_rate: Some((10, 5)),
            ..Limits::default()
        };
        let within = |from: u64, to: u64| {
            let times = (from..to).map(|millis| start + Duration::from_millis(millis));
            times
                .filter(|now| admission.admit(&limits, *now).is_ok())
                .count()
        };
        assert_eq!(within(0, 10), 5, "the burst");
        assert_eq!(within(10, 1000), 9);
        assert_eq!(within(1000, 11_000), 100);
        assert_eq!(
            within(21_000, 21_010),
            5,
            "after a pause the burst is there again"
        );
    }
}
