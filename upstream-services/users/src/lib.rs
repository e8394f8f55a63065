//! The user services: accounts, sessions and profiles over HTTP, on sharded SQL.
//!
//! A library: [`Users::open`] makes the service, [`Users::router`] is its HTTP API. Binding
//! sockets, signals and the admin listener are the role's part, not this crate's.
//!
//! ```text
//! api (HTTP) -> accounts -> hashing (own threads)
//!            -> sessions -> cache -> store
//!            -> profiles -> cache -> store
//!            -> history  -> queue -> store
//!            -> tokens (signing keys)
//! ```

mod accounts;
mod admins;
mod api;
mod client;
pub mod config;
mod error;
mod factors;
mod fields;
mod freshness;
mod hashing;
mod history;
mod lockout;
mod metrics;
mod profiles;
mod records;
mod recovery;
pub mod role;
mod schema;
mod sessions;
mod tokens;
pub mod tools;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cache::Remote;
use store::{Store, Time};
use tokio::task::JoinHandle;
use tokio::time::{Interval, MissedTickBehavior};

use crate::accounts::Accounts;
use crate::admins::Admins;
use crate::api::Service;
use crate::factors::Factors;
use crate::hashing::Hasher;
use crate::history::History;
use crate::lockout::Lockout;
use crate::metrics::{HashMetrics, Metrics, Observed, ObservedRemote, ObservedStore, reader};
use crate::profiles::Profiles;
use crate::records::Records;
use crate::recovery::Recovery;
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
    /// Writes the history.
    writer: JoinHandle<()>,
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
        let dropped = metrics.history_dropped.clone();
        let history = History::open(store.clone(), &config.history, dropped, now).await?;
        let history = Arc::new(history);
        let remote = config.cache.remote.as_ref();
        let remote = remote.map(|remote| Remote::open(remote.options()));
        let remote = remote.transpose()?;
        let (profiles, sessions) = cached(config, &store, remote.as_ref(), &history, &metrics);
        ObservedStore::register(registry, store.clone())?;
        observe(registry, &hasher, (&profiles, &sessions), remote.as_ref())?;
        let messages = metrics.recoveries.clone();
        let recovery = Recovery::start(store.clone(), &config.recovery, messages)?;
        let lockout = Lockout::new(config.lockout.clone(), metrics.locked_out.clone());
        let factors = Factors::open(store.clone(), &config.keys_dir(), &config.tokens.issuer)?;
        let factors = Arc::new(factors);
        let accounts = Accounts::open(
            store.clone(),
            hasher.clone(),
            history.clone(),
            Arc::new(lockout),
            factors.clone(),
        );
        let (accounts, admins) = (accounts.await?, Admins::new(store.clone()));
        if let Some(wanted) = &config.bootstrap {
            admins.bootstrap(&accounts, wanted, now).await?;
        }
        let service = Arc::new(Service {
            accounts,
            admins,
            factors,
            profiles,
            sessions,
            history: history.clone(),
            records: Records::new(store.clone(), history.clone()),
            recovery,
            store,
            hasher,
            tokens,
            metrics,
        });
        let archive = config.history.archive.clone();
        let sweeper = tokio::spawn(sweep(service.clone(), archive));
        let writer = tokio::spawn(async move { history.write().await });
        Ok(Self {
            service,
            sweeper,
            writer,
        })
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

    /// Finishes the hashes that are queued, writes what the history waits for, then closes the data. Requests that come later fail:
    /// drain the listener first.
    pub async fn close(mut self) {
        self.sweeper.abort();
        self.service.recovery.close().await;
        let hasher = self.service.hasher.clone();
        if let Err(error) = tokio::task::spawn_blocking(move || hasher.close()).await {
            tracing::error!(%error, "the hashing pool did not close");
        }
        self.service.history.close();
        if let Err(error) = (&mut self.writer).await {
            tracing::error!(%error, "the writer of the history did not end");
        }
        self.service.store.close().await;
    }
}

/// What is read through the cache.
fn cached(
    config: &Config,
    store: &Arc<Store>,
    remote: Option<&Arc<Remote>>,
    history: &Arc<History>,
    metrics: &Metrics,
) -> (Profiles, Sessions) {
    let lag_bound = *config.data.lag_bound;
    let limits = config.cache.profile_limits(lag_bound);
    let profiles = Profiles::new(store.clone(), limits, remote.cloned(), history.clone());
    let limits = config.cache.session_limits(lag_bound);
    let (ttl, reuse) = (*config.tokens.refresh_ttl, metrics.reuse.clone());
    let sessions = Sessions::new(
        store.clone(),
        limits,
        remote.cloned(),
        history.clone(),
        ttl,
        reuse,
    );
    (profiles, sessions)
}

/// Registers what others count.
fn observe(
    registry: &prometheus::Registry,
    hasher: &Arc<Hasher>,
    (profiles, sessions): (&Profiles, &Sessions),
    remote: Option<&Arc<Remote>>,
) -> Result<(), Error> {
    let observed = hasher.clone();
    let caches = vec![
        ("profiles", reader(profiles.cache())),
        ("sessions", reader(sessions.cache())),
    ];
    Observed::register(registry, Box::new(move || observed.pressure()), caches)?;
    if let Some(remote) = remote {
        ObservedRemote::register(registry, remote.clone())?;
    }
    Ok(())
}

impl Drop for Users {
    fn drop(&mut self) {
        self.sweeper.abort();
        self.writer.abort();
    }
}

/// Clears away, once a minute, what has expired and what crashes left; looks after the tables once an hour.
async fn sweep(service: Arc<Service>, archive: Option<PathBuf>) {
    let every_minute = async {
        let mut turns = turns(60);
        loop {
            turns.tick().await;
            let now = Time::now();
            if let Err(error) = service.store.sweep_claims(now).await {
                tracing::warn!(%error, "claims will be swept later");
            }
            if let Err(error) = service.sessions.sweep(now).await {
                tracing::warn!(%error, "sessions will be swept later");
            }
            if let Err(error) = service.recovery.sweep(now).await {
                tracing::warn!(%error, "recovery tokens will be swept later");
            }
        }
    };
    // By itself: an archive can take minutes.
    let every_hour = async {
        let mut turns = turns(3600);
        let tables = [service.history.table()];
        loop {
            turns.tick().await;
            let now = Time::now();
            let kept = service
                .store
                .keep_time_tables(&tables, now, archive.as_deref());
            if let Err(error) = kept.await {
                tracing::warn!(%error, "months of the history will be made or dropped later");
            }
            if let Err(error) = service.store.rows(now).await {
                tracing::warn!(%error, "the rows of tables will be estimated later");
            }
        }
    };
    futures::future::join(every_minute, every_hour).await;
}

/// A turn now, and then one every so many seconds.
fn turns(seconds: u64) -> Interval {
    let mut turns = tokio::time::interval(Duration::from_secs(seconds));
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    turns
}
