//! The level that processes share: Redis or Memcached.
//!
//! ```text
//! Remote: which server has a key (rendezvous hashing), and which one while that is away (the gutter)
//!   Server: time-outs, a breaker, deletions that were missed
//!     Backend: Redis (single, sentinel, cluster) or Memcached
//!   feed: what other processes have deleted
//! ```
//!
//! Whatever goes wrong here, the source is asked instead.

mod backend;
mod entry;
mod feed;
mod memcached;
mod options;
mod redis;
mod rendezvous;
mod server;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use futures::future::BoxFuture;
use tokio::task::JoinHandle;

use self::entry::{Entry, Until};
use self::rendezvous::owner;
use self::server::Server;
use crate::Need;

pub use self::backend::RemoteError;
pub use self::options::{Kind, Node, Options, Password};
pub use self::server::ServerStats as RemoteStats;

/// The servers that processes share.
pub struct Remote {
    /// What every key begins with.
    prefix: String,
    servers: Vec<Arc<Server>>,
    gutter: Vec<Arc<Server>>,
    listeners: Listeners,
    /// By this it knows its own messages.
    sender: u64,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

/// Who is told what other processes delete, by the name of the source.
type Listeners = Arc<Mutex<Audience>>;

/// Who is told, and what they know.
#[derive(Default)]
struct Audience {
    /// Whether deletions are heard now.
    heard: bool,
    listeners: HashMap<&'static str, Weak<dyn Listener>>,
}

/// Who is told what other processes delete.
pub(crate) trait Listener: Send + Sync {
    fn forget<'a>(&'a self, key: &'a str, need: Need) -> BoxFuture<'a, ()>;

    /// Whether deletions are heard from now on.
    fn heard(&self, heard: bool);
}

/// What was found.
#[derive(Debug)]
pub(crate) enum Look {
    /// A value as JSON, or the knowledge that there is none, and for how long that may be kept; the caller may replace it.
    Found(Option<Vec<u8>>, Duration, Lease),
    /// Nothing; it is the caller's to fill.
    Vacant(Lease),
    /// It was deleted just now; a fill must be so new.
    Deleted(Need, Lease),
    /// Nothing; somebody else is about to fill it.
    Taken,
    /// No answer.
    Unavailable,
}

/// The right to fill a key.
#[derive(Debug, Default)]
pub(crate) struct Lease {
    /// What is there now, and must still be.
    token: Vec<u8>,
    /// It is the server in the gutter that gave it.
    gutter: bool,
    /// Others wait until it is filled.
    awaited: bool,
}

impl Remote {
    /// Makes it; servers are connected to when they are needed. Must be called within a runtime.
    ///
    /// # Errors
    /// When the options make no sense.
    pub fn open(options: Options) -> Result<Arc<Self>, RemoteError> {
        let (servers, gutter) = (Server::all(&options, false)?, Server::all(&options, true)?);
        let mut tasks: Vec<_> = servers.iter().chain(&gutter).map(Server::mend).collect();
        let listeners = Listeners::default();
        let sender = rand::random();
        tasks.push(tokio::spawn(feed::follow(
            servers.clone(),
            options.channel(),
            sender,
            listeners.clone(),
        )));
        Ok(Arc::new(Self {
            prefix: options.prefix,
            servers,
            gutter,
            listeners,
            sender,
            tasks: Mutex::new(tasks),
        }))
    }

    /// How each server does.
    pub fn stats(&self) -> Vec<RemoteStats> {
        let servers = self.servers.iter().chain(&self.gutter);
        servers.map(|server| server.stats()).collect()
    }

    /// Runs a script (Lua) on the server of a key, in one step: `KEYS[1]` is the key, below the prefix and `name`. None when no server
    /// can be asked, or they are Memcached. Nothing is known of keys that scripts write: they are the caller's.
    pub async fn script(
        &self,
        name: &str,
        key: &str,
        script: &str,
        arguments: &[i64],
    ) -> Option<i64> {
        let key = self.key(name, key)?;
        for servers in [&self.servers, &self.gutter] {
            let Some(server) = owner(servers, &key) else {
                continue;
            };
            if let Some(answer) = server.script(script, &key, arguments).await {
                return Some(answer);
            }
        }
        None
    }

    /// Remembers whom to tell what is deleted elsewhere.
    pub(crate) fn add_listener(&self, name: &'static str, listener: &Arc<dyn Listener>) {
        let mut audience = self
            .listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        audience.listeners.insert(name, Arc::downgrade(listener));
        if audience.heard {
            listener.heard(true);
        }
    }

    pub(crate) async fn look(&self, name: &str, key: &str) -> Look {
        let Some(key) = self.key(name, key) else {
            return Look::Unavailable;
        };
        for (servers, gutter) in [(&self.servers, false), (&self.gutter, true)] {
            let Some(server) = owner(servers, &key) else {
                continue;
            };
            let Some(found) = server.look(&key, LEASE).await else {
                continue;
            };
            let lease = |token| Lease {
                token,
                gutter,
                awaited: false,
            };
            return match found {
                backend::Found::Entry(Entry::Known(json, until), token) => {
                    Look::Found(json, until.left(SystemTime::now()), lease(token))
                }
                backend::Found::Entry(Entry::Deleted(need), token) => {
                    Look::Deleted(need, lease(token))
                }
                backend::Found::Vacant(token) => Look::Vacant(Lease {
                    awaited: true,
                    ..lease(token)
                }),
                backend::Found::Taken => Look::Taken,
            };
        }
        Look::Unavailable
    }

    /// What is served of a key: a value as JSON, or the knowledge that there is none. Nothing when it has to be loaded.
    pub(crate) async fn peek(&self, name: &str, key: &str) -> Option<Option<Vec<u8>>> {
        let key = self.key(name, key)?;
        match owner(&self.servers, &key)?.get(&key).await? {
            Entry::Known(json, _) => Some(json),
            Entry::Deleted(_) => None,
        }
    }

    pub(crate) async fn fill(
        &self,
        name: &str,
        key: &str,
        lease: Lease,
        json: Option<Vec<u8>>,
        ttl: Duration,
    ) {
        let Some(key) = self.key(name, key) else {
            return;
        };
        let (servers, ttl) = match lease.gutter {
            true => (&self.gutter, ttl.min(GUTTER)),
            false => (&self.servers, ttl),
        };
        let entry = Entry::Known(json, Until::after(SystemTime::now(), ttl));
        if let Some(server) = owner(servers, &key) {
            server.fill(&key, &lease.token, &entry, ttl).await;
        }
    }

    /// Gives a lease back that cannot be used: others need not wait for it.
    pub(crate) async fn give_back(&self, name: &str, key: &str, lease: Lease) {
        let Some(key) = self.key(name, key).filter(|_| lease.awaited) else {
            return;
        };
        let servers = match lease.gutter {
            true => &self.gutter,
            false => &self.servers,
        };
        if let Some(server) = owner(servers, &key) {
            server.give_back(&key, &lease.token).await;
        }
    }

    /// Deletes a key for a while, and tells other processes. A server that does not answer
    /// is told later, and so are they.
    pub(crate) async fn delete(&self, name: &str, key: &str, need: Need, ttl: Duration) {
        let message = feed::message(self.sender, name, key, &need);
        let Some(key) = self.key(name, key) else {
            return;
        };
        let gutter = async {
            // Who cannot reach the server uses the gutter, whether we can or not.
            if let Some(server) = owner(&self.gutter, &key) {
                server.delete(&key, &need, ttl, None).await;
            }
        };
        // In the gutter first: who hears of it and asks at once must find it deleted.
        gutter.await;
        if let Some(server) = owner(&self.servers, &key) {
            server.delete(&key, &need, ttl, Some(message)).await;
        }
    }

    /// The key on the servers; none when it is too long.
    fn key(&self, name: &str, key: &str) -> Option<String> {
        let key = format!("{}:{name}:{key}", self.prefix);
        (key.len() <= LONGEST_KEY).then_some(key)
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        let tasks = self.tasks.get_mut().unwrap_or_else(PoisonError::into_inner);
        tasks.iter().for_each(JoinHandle::abort);
    }
}

/// How long a reader may take to fill what was vacant.
const LEASE: Duration = Duration::from_secs(2);
/// How long an entry lives on a server that stands in for another.
const GUTTER: Duration = Duration::from_secs(10);
/// Memcached takes keys of 250 bytes.
const LONGEST_KEY: usize = 250;
