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
mod assembly;
mod client;
pub mod config;
mod contention;
mod error;
mod factors;
mod fields;
mod freshness;
mod hashing;
mod history;
mod lockout;
mod metrics;
mod parts;
mod profiles;
mod records;
mod recovery;
pub mod role;
mod schema;
mod serve;
mod sessions;
mod to_the_end;
mod tokens;
pub mod tools;
mod unreachable;
mod upkeep;

use std::sync::Arc;

use chassis::config::Secret;
use store::{Store, Time};
use tokio::task::JoinHandle;

use crate::accounts::Accounts;
use crate::admins::Admins;
use crate::api::Service;
use crate::assembly::{
    authenticator, cached, first_administrator, hasher, includes, observe, recovery, remote,
    session_states,
};
use crate::factors::Factors;
use crate::history::History;
use crate::lockout::Gate;
use crate::metrics::{Metrics, ObservedStore};
use crate::records::Records;
use crate::tokens::Issuer;
use crate::upkeep::Upkeep;

pub use api::BODY_LIMIT;
pub use config::Config;
pub use error::Error;
pub use hashing::HashQueue;
pub use parts::Part;

/// The opened user services.
pub struct Users {
    service: Arc<Service>,
    /// Which part it is, and by what the parts know each other; none when it is all.
    part: Option<(Part, Secret)>,
    sweeper: JoinHandle<()>,
    /// Writes the history.
    writer: JoinHandle<()>,
}

impl Users {
    /// Opens the data, reads or makes the signing keys, starts the hashing threads (of the accounts), and registers
    /// the metrics.
    ///
    /// # Errors
    /// When a value of the configuration does not work, or the data or the keys cannot be used.
    pub async fn open(config: &Config, registry: &prometheus::Registry) -> Result<Self, Error> {
        Self::open_part(config, None, registry).await
    }

    /// The same for one part alone; it asks the others over HTTP.
    ///
    /// # Errors
    /// As [`Users::open`].
    pub async fn open_part(
        config: &Config,
        part: Option<Part>,
        registry: &prometheus::Registry,
    ) -> Result<Self, Error> {
        config.check()?;
        let now = Time::now();
        let store = Store::open(&config.data.options(), &schema::SCHEMA, now).await?;
        let store = Arc::new(store);
        let tokens = Issuer::open(config, now)?;
        let metrics = Metrics::register(registry)?;
        let hasher = Arc::new(hasher(config, part, registry)?);
        let dropped = metrics.history_dropped.clone();
        let history = History::open(store.clone(), &config.history, dropped, now).await?;
        let history = Arc::new(history);
        let remote = remote(config)?;
        let states = session_states(config, part, &store)?;
        let caches = (remote.as_ref(), includes(part, Part::Sessions));
        let (profiles, sessions) = cached(config, &store, &states, caches, &history, &metrics);
        ObservedStore::register(registry, store.clone())?;
        observe(registry, &hasher, (&profiles, &sessions), remote.as_ref())?;
        let recovery = recovery(config, part, &store, &metrics)?;
        let lockout = Gate::new(&config.lockout, &metrics.locked_out, remote.as_ref());
        let factors = Factors::open(store.clone(), &config.keys_dir(), &config.tokens.issuer)?;
        let factors = Arc::new(factors);
        let accounts = Accounts::open(
            store.clone(),
            hasher.clone(),
            history.clone(),
            lockout,
            factors.clone(),
        );
        let (accounts, admins) = (Arc::new(accounts.await?), Admins::new(store.clone()));
        let wanted = first_administrator(config, part, (&admins, &accounts), now).await?;
        let service = Arc::new(Service {
            authenticator: authenticator(config, part, &accounts)?,
            accounts,
            states,
            admins,
            factors,
            profiles,
            sessions,
            history: history.clone(),
            records: Records::new(store.clone(), history.clone()),
            recovery,
            remote,
            store,
            hasher,
            tokens,
            metrics,
        });
        let upkeep = Upkeep::new(service.clone(), part, config, wanted);
        let sweeper = tokio::spawn(upkeep.run());
        let writer = tokio::spawn(async move { history.write().await });
        let services = config.services.as_ref();
        Ok(Self {
            service,
            part: part.zip(services.map(|services| services.secret.clone())),
            sweeper,
            writer,
        })
    }

    /// The public API.
    pub fn router(&self) -> axum::Router {
        let part = self.part.as_ref().map(|(part, secret)| (*part, secret));
        api::router(self.service.clone(), part)
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

impl Drop for Users {
    fn drop(&mut self) {
        self.sweeper.abort();
        self.writer.abort();
    }
}
