//! Memcached 1.6, by its meta commands: they have leases and compare-and-swap of their own.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_memcached::{Client, Error, MetaProtocol, Status};
use tokio::sync::{Semaphore, mpsc};

use super::backend::{Backend, Found, Outcome};
use super::entry::Entry;
use super::options::Node;
use crate::{Need, RemoteError};

/// A server. Each request has a connection to itself; who comes when all are in use waits for a place.
pub(super) struct Memcached {
    address: String,
    idle: Mutex<Vec<Client>>,
    places: Semaphore,
}

impl Memcached {
    pub(super) fn new(node: &Node) -> Self {
        Self {
            address: format!("tcp://{node}"),
            idle: Mutex::default(),
            places: Semaphore::new(CONNECTIONS),
        }
    }

    /// A connection, for who has a place.
    async fn client(&self) -> Result<Client, Error> {
        let idle = self.idle().pop();
        match idle {
            Some(client) => Ok(client),
            None => Client::new(&self.address).await,
        }
    }

    /// Keeps a connection whose answers have all been read.
    fn keep(&self, client: Client) {
        self.idle().push(client);
        // Its place comes free after that: who takes it finds the connection.
    }

    /// Sets a key; whether the condition among the flags was met.
    async fn set(&self, key: &str, entry: &Entry, flags: &[&str]) -> Result<bool, RemoteError> {
        let mut client = self.client().await?;
        let bytes = entry.to_bytes();
        let set = client.meta_set(key, &bytes[..], false, None, Some(flags));
        let met = match set.await {
            Ok(_) => true,
            Err(Error::Protocol(Status::Exists | Status::NotFound | Status::NotStored)) => false,
            Err(error) => return Err(error.into()),
        };
        self.keep(client);
        Ok(met)
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Client>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Backend for Memcached {
    fn look<'a>(&'a self, key: &'a str, lease: Duration) -> Outcome<'a, Found> {
        Box::pin(async move {
            let mut client = self.client().await?;
            let vivify = format!("N{}", seconds(lease));
            let flags = Some(&["v", "c", &vivify][..]);
            let found = client.meta_get(key, false, None, flags).await?;
            self.keep(client);
            let Some(found) = found else {
                return Ok(Found::Taken);
            };
            let token = found.cas.unwrap_or_default().to_string().into_bytes();
            let data = found.data.unwrap_or_default();
            let ours = found.is_recache_winner == Some(true);
            Ok(match Entry::from_bytes(&data) {
                Some(entry) => Found::Entry(entry, token),
                // What cannot be read is in nobody's way.
                None if ours || !data.is_empty() => Found::Vacant(token),
                None => Found::Taken,
            })
        })
    }

    fn get<'a>(&'a self, key: &'a str) -> Outcome<'a, Option<Entry>> {
        Box::pin(async move {
            let mut client = self.client().await?;
            let found = client.meta_get(key, false, None, Some(&["v"])).await?;
            self.keep(client);
            let data = found.and_then(|found| found.data).unwrap_or_default();
            Ok(Entry::from_bytes(&data))
        })
    }

    fn fill<'a>(
        &'a self,
        key: &'a str,
        token: &'a [u8],
        entry: &'a Entry,
        ttl: Duration,
    ) -> Outcome<'a, bool> {
        Box::pin(async move {
            let compare = format!("C{}", String::from_utf8_lossy(token));
            let ttl = format!("T{}", seconds(ttl));
            self.set(key, entry, &[&compare, &ttl]).await
        })
    }

    fn give_back<'a>(&'a self, key: &'a str, token: &'a [u8]) -> Outcome<'a, ()> {
        Box::pin(async move {
            let mut client = self.client().await?;
            let compare = format!("C{}", String::from_utf8_lossy(token));
            let flags = [&*compare];
            let delete = client.meta_delete(key, false, None, Some(&flags));
            match delete.await {
                Ok(_) | Err(Error::Protocol(Status::Exists | Status::NotFound)) => {}
                Err(error) => return Err(error.into()),
            }
            self.keep(client);
            Ok(())
        })
    }

    fn delete<'a>(&'a self, key: &'a str, _: &'a Entry, ttl: Duration) -> Outcome<'a, ()> {
        Box::pin(async move {
            let ttl = format!("T{}", seconds(ttl));
            // It cannot compare and set in one step what it does not know.
            let latest = Entry::Deleted(Need::Latest);
            self.set(key, &latest, &[&ttl]).await.map(drop)
        })
    }

    fn ping<'a>(&'a self, key: &'a str) -> Outcome<'a, ()> {
        Box::pin(async move {
            let mut client = self.client().await?;
            client.meta_get(key, false, None, Some(&["t"])).await?;
            self.keep(client);
            Ok(())
        })
    }

    fn publish<'a>(&'a self, _: &'a str, _: &'a str) -> Outcome<'a, ()> {
        Box::pin(async { Ok(()) })
    }

    fn follow<'a>(&'a self, _: &'a str, _: mpsc::Sender<String>) -> Option<Outcome<'a, ()>> {
        None
    }

    fn places(&self) -> Option<&Semaphore> {
        Some(&self.places)
    }

    fn renew(&self) {
        self.idle().clear();
    }
}

/// Memcached counts seconds.
fn seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

/// The most connections, in use and kept.
const CONNECTIONS: usize = 32;
