//! What has to be done now and then.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use store::Time;
use tokio::time::{Interval, MissedTickBehavior};

use crate::api::Service;
use crate::assembly::includes;
use crate::parts::Part;

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
    futures::future::join(every_minute, every_hour).await;
}

/// A turn now, and then one every so many seconds.
fn turns(seconds: u64) -> Interval {
    let mut turns = tokio::time::interval(Duration::from_secs(seconds));
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    turns
}
