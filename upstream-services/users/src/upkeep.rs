//! What has to be done now and then.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use store::{Position, Time, Watch};
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior};

use crate::api::Service;
use crate::assembly::includes;
use crate::freshness::mark;
use crate::parts::Part;
use crate::sessions::REVOKED;

/// Clears away, once a minute, what has expired and what crashes left; looks after the tables once an hour.
pub(crate) async fn sweep(service: Arc<Service>, part: Option<Part>, archive: Option<PathBuf>) {
    let is = |other| includes(part, other);
    let every_minute = async {
        let mut turns = turns(60);
        loop {
            turns.tick().await;
            let now = Time::now();
            if is(Part::Accounts) {
                if let Err(error) = service.store.sweep_claims(now).await {
                    tracing::warn!(%error, "claims will be swept later");
                }
                if let Err(error) = service.recovery.sweep(now).await {
                    tracing::warn!(%error, "recovery tokens will be swept later");
                }
            }
            if is(Part::Sessions)
                && let Err(error) = service.sessions.sweep(now).await
            {
                tracing::warn!(%error, "sessions will be swept later");
            }
        }
    };
    // By itself: an archive can take minutes.
    let every_hour = async {
        if !is(Part::History) {
            return;
        }
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
    futures::future::join3(every_minute, every_hour, hear(&service, part)).await;
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

/// A turn now, and then one every so many seconds.
fn turns(seconds: u64) -> Interval {
    let mut turns = tokio::time::interval(Duration::from_secs(seconds));
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    turns
}
