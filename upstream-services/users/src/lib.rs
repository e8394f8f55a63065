//! The user services: accounts, sessions and profiles over HTTP, on sharded SQL.
//!
//! A library: [`Users::open`] makes the service, [`Users::router`] is its HTTP API. Binding
//! sockets, signals and the admin listener are the role's part, not this crate's.
//!
//! ```text
//! api (HTTP) -> accounts -> hashing (own threads)
//!            -> sessions -> cache -> store
//!            -> profiles -> cache -> store
//!            -> tokens (signing keys)
//! ```

mod accounts;
mod api;
pub mod config;
mod error;
mod fields;
mod hashing;
mod metrics;
mod profiles;
pub mod role;
mod schema;
mod sessions;
mod tokens;

use std::sync::Arc;
use std::time::Duration;

use cache::{Cache, Limits};
use chassis::units::Period;
use store::{Store, Time};
use tokio::task::JoinHandle;

use crate::accounts::Accounts;
use crate::api::Service;
use crate::hashing::Hasher;
use crate::metrics::{HashMetrics, Metrics, Observed, reader};
use crate::profiles::Profiles;
use crate::sessions::Sessions;
use crate::tokens::Issuer;

pub use api::BODY_LIMIT;
pub use config::Config;
pub use error::Error;
pub use hashing::HashQueue;

/// The opened user services.
pub struct Users {
    service: Arc<Service>,
    sweeper: JoinHandle<()>,
}

impl Users {
    /// Opens the data, reads or makes the signing keys, starts the hashing threads, and registers
    /// the metrics.
    ///
    /// # Errors
    /// When a value of the configuration does not work, or the data or the keys cannot be used.
    pub async fn open(config: &Config, registry: &prometheus::Registry) -> Result<Self, Error> {
        config.check()?;
        let now = Time::now();
        let store = Store::open(&config.data.options(), &schema::SCHEMA, now).await?;
        let store = Arc::new(store);
        let tokens = Issuer::open(config, now)?;
        let metrics = Metrics::register(registry)?;
        let hasher = Hasher::start(&config.hash, HashMetrics::register(registry)?)?;
        let hasher = Arc::new(hasher);
        let limits = &config.cache;
        let profiles = new_cache(limits.profiles, limits.profile_ttl, limits.negative_ttl);
        let sessions = new_cache(limits.sessions, limits.session_ttl, limits.negative_ttl);
        let observed = hasher.clone();
        let caches = vec![
            ("profiles", reader(&profiles)),
            ("sessions", reader(&sessions)),
        ];
        Observed::register(registry, Box::new(move || observed.pressure()), caches)?;
        let (ttl, reuse) = (*config.tokens.refresh_ttl, metrics.reuse.clone());
        let service = Arc::new(Service {
            accounts: Accounts::open(store.clone(), hasher.clone()).await?,
            profiles: Profiles::new(store.clone(), profiles),
            sessions: Sessions::new(store.clone(), sessions, ttl, reuse),
            store,
            hasher,
            tokens,
            metrics,
        });
        let sweeper = tokio::spawn(sweep(service.clone()));
        Ok(Self { service, sweeper })
    }

    /// The public API.
    pub fn router(&self) -> axum::Router {
        api::router(self.service.clone())
    }

    /// What the hashing pool is doing: the pressure signal of this role.
    pub fn pressure(&self) -> HashQueue {
        self.service.hasher.pressure()
    }

    /// Reads the signing keys again; makes a new one when the newest is old enough.
    ///
    /// # Errors
    /// When a file is no key or the directory cannot be read: the keys in use stay then.
    pub fn reload_keys(&self) -> Result<(), Error> {
        self.service.tokens.reload()
    }

    /// Finishes the hashes that are queued, then closes the data. Requests that come later fail:
    /// drain the listener first.
    pub async fn close(self) {
        self.sweeper.abort();
        let hasher = self.service.hasher.clone();
        if let Err(error) = tokio::task::spawn_blocking(move || hasher.close()).await {
            tracing::error!(%error, "the hashing pool did not close");
        }
        self.service.store.close().await;
    }
}

impl Drop for Users {
    fn drop(&mut self) {
        self.sweeper.abort();
    }
}

fn new_cache<K, V>(entries: u64, ttl: Period, negative_ttl: Period) -> Arc<Cache<K, V>>
where
    K: Clone + Eq + std::hash::Hash + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    Arc::new(Cache::new(Limits {
        entries,
        ttl: *ttl,
        negative_ttl: *negative_ttl,
        jitter: 0.1,
    }))
}

/// Clears away, once a minute, what has expired and what crashes left.
async fn sweep(service: Arc<Service>) {
    let mut turns = tokio::time::interval(Duration::from_secs(60));
    turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        turns.tick().await;
        let now = Time::now();
        if let Err(error) = service.store.sweep_claims(now).await {
            tracing::warn!(%error, "claims will be swept later");
        }
        if let Err(error) = service.sessions.sweep(now).await {
            tracing::warn!(%error, "sessions will be swept later");
        }
    }
}
