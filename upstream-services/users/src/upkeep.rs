//! What has to be done now and then.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use store::{Position, Time, Watch};
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior};

use crate::Config;
use crate::api::Service;
use crate::assembly::includes;
use crate::config::BootstrapConfig;
use crate::freshness::mark;
use crate::parts::Part;
use crate::sessions::REVOKED;

/// What has to be done, and in which part of the services.
pub(crate) struct Upkeep {
    service: Arc<Service>,
    part: Option<Part>,
    /// Where months of the history go before they are dropped.
    archive: Option<PathBuf>,
    /// The first administrator, when the start could not say whether there is one.
    administrator: Option<BootstrapConfig>,
}

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
/// Between two looks whether every shard is there.
const AGAIN: Duration = Duration::from_secs(2);

impl Upkeep {
    pub(crate) fn new(
        service: Arc<Service>,
        part: Option<Part>,
        config: &Config,
        administrator: Option<BootstrapConfig>,
    ) -> Self {
        Self {
            service,
            part,
            archive: config.history.archive.clone(),
            administrator,
        }
    }

    /// Clears away, once a minute, what has expired and what crashes left; looks after the tables once an hour.
    pub(crate) async fn run(self) {
        let hear = hear(&self.service, self.part);
        let administrator = self.make_administrator();
        // By itself: an archive can take minutes.
        let tables = self.keep_tables();
        futures::future::join4(self.clear_away(), tables, administrator, hear).await;
    }

    fn is(&self, part: Part) -> bool {
        includes(self.part, part)
    }

    async fn clear_away(&self) {
        let service = &self.service;
        let mut turns = turns(MINUTE);
        loop {
            turns.tick().await;
            let now = Time::now();
            if self.is(Part::Accounts) {
                if let Err(error) = service.store.sweep_claims(now).await {
                    tracing::warn!(%error, "claims will be swept later");
                }
                if let Err(error) = service.recovery.sweep(now).await {
                    tracing::warn!(%error, "recovery tokens will be swept later");
                }
            }
            if self.is(Part::Sessions)
                && let Err(error) = service.sessions.sweep(now).await
            {
                tracing::warn!(%error, "sessions will be swept later");
            }
        }
    }

    async fn keep_tables(&self) {
        if !self.is(Part::History) {
            return;
        }
        let (store, tables) = (&self.service.store, [self.service.history.table()]);
        loop {
            let now = Time::now();
            let kept = store.keep_time_tables(&tables, now, self.archive.as_deref());
            let pause = match kept.await {
                Ok(_) => HOUR,
                // A shard that was away for long wants its months soon after.
                Err(error) => {
                    tracing::warn!(%error, "months of the history will be made or dropped later");
                    MINUTE
                }
            };
            if let Err(error) = store.rows(now).await {
                tracing::warn!(%error, "the rows of tables will be estimated later");
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Makes the first administrator, when every shard is there and none has one.
    async fn make_administrator(&self) {
        let Some(wanted) = &self.administrator else {
            return;
        };
        let service = &self.service;
        loop {
            tokio::time::sleep(AGAIN).await;
            let made = service
                .admins
                .bootstrap(&service.accounts, wanted, Time::now());
            match made.await {
                Ok(()) => return,
                Err(error) if error.is_passing() => {}
                Err(error) => {
                    tracing::error!(%error, "the first administrator cannot be made");
                    return;
                }
            }
        }
    }
}

/// Looks after every change once more: a process that was killed between its commit and the deletion in the cache has told nobody.
async fn hear(service: &Service, part: Option<Part>) {
    if !includes(part, Part::History) {
        return;
    }
    let (sender, mut changes) = mpsc::channel(1024);
    let _follower = service.store.follow(&WATCHES, &sender);
    drop(sender);
    let latest = mark(&Position::UNKNOWN);
    while let Some(change) = changes.recv().await {
        let value = change.value.map(|value| value.try_into().unwrap_or(0));
        match (change.table, value) {
            (USERS, version) => {
                let version = version.filter(|_| !change.deleted).unwrap_or(u64::MAX);
                let profiles = service.profiles.cache();
                profiles
                    .forget_older(&change.id, version, latest.clone())
                    .await;
            }
            // Only that it has ended; what is prolonged may be heard of later.
            (SESSIONS, Some(_)) => {
                let sessions = service.sessions.cache();
                sessions
                    .forget_older(&change.id, REVOKED, latest.clone())
                    .await;
            }
            _ => {}
        }
    }
}

const USERS: &str = "users";
const SESSIONS: &str = "sessions";

/// The version of a user; when a session was revoked.
const WATCHES: [Watch; 2] = [
    Watch {
        table: USERS,
        column: 6,
    },
    Watch {
        table: SESSIONS,
        column: 4,
    },
];

/// A turn now, and then one in every period.
fn turns(period: Duration) -> Interval {
    let mut turns = tokio::time::interval(period);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    turns
}
