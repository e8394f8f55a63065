//! The parts that the services can be taken apart into, each in processes of its own.
//!
//! ```text
//! in one process:    sessions -- Authenticates --> Accounts
//!                    all others -- SessionStates --> StoredSessions
//! in one for each:   sessions -- Authenticates --> RemoteAccounts  -- HTTP --> /internal/v1/authenticate --> Accounts
//!                    all others -- SessionStates --> RemoteSessions -- HTTP --> /internal/v1/sessions/{id} --> StoredSessions
//! ```
//!
//! Parts share the store and, for what they have in memory, the cache's servers: whichever part changes something, all
//! hear of it. Hashing passwords, which costs a thousand times as much as anything else, is the accounts' alone.

mod breaker;
mod remote;
mod wire;

use clap::ValueEnum;
use futures::future::BoxFuture;
use store::{Id, Time};

use cache::Need;

use crate::Error;
use crate::accounts::{Accounts, Authenticated, Login};
use crate::sessions::State;

pub(crate) use remote::{Peer, RemoteAccounts, RemoteSessions};
pub(crate) use wire::{Attempt, need_of_text};

/// A part of the user services that can run in processes of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// Registration, passwords and second factors, recovery, administration; all hashing.
    Accounts,
    /// Logins, tokens and their keys, sessions.
    Sessions,
    /// Profiles.
    Profiles,
    /// What happened to accounts, and how large the tables are.
    History,
}

impl Part {
    /// Its name, on the command line and in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accounts => "accounts",
            Self::Sessions => "sessions",
            Self::Profiles => "profiles",
            Self::History => "history",
        }
    }
}

/// Who finds out who somebody is.
pub(crate) trait Authenticates: Send + Sync {
    /// As [`Accounts::authenticate`].
    fn authenticate(&self, login: Login, now: Time) -> BoxFuture<'_, Result<Authenticated, Error>>;
}

/// Who knows whether sessions are open.
pub(crate) trait SessionStates: Send + Sync {
    /// The state of a session, no older than needed.
    fn state(&self, session: Id, need: Need) -> BoxFuture<'_, Result<Option<State>, Error>>;
}

impl Authenticates for Accounts {
    fn authenticate(&self, login: Login, now: Time) -> BoxFuture<'_, Result<Authenticated, Error>> {
        Box::pin(Self::authenticate(self, login, now))
    }
}
