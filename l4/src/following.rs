//! Where connections go follows what is well.

use std::sync::Arc;
use std::time::Duration;

use chassis::life::Life;

use crate::health::{Health, Plan};
use crate::serve::Shared;

/// How long a start or a reload waits for the first outcomes of checks that are new.
const FIRST_OUTCOMES: Duration = Duration::from_secs(5);

/// Between two looks at endpoints whose shares grow.
const STEP: Duration = Duration::from_millis(250);

/// Begins the checks that are new, ends those that nobody needs any more, and waits for first outcomes. Until then
/// nobody knows where a connection can go. False when the process is to leave meanwhile.
pub(crate) async fn begin(health: &Arc<Health>, plan: Plan, life: &Life) -> bool {
    health.apply(plan).await;
    tokio::select! {
        checked = health.settled(FIRST_OUTCOMES) => {
            if !checked {
                tracing::warn!("not every check has had an outcome: no connection is sent to what is not known");
            }
            true
        }
        () = life.leaving() => false,
    }
}

/// Lets whichever state serves follow every change.
pub(crate) async fn follow(shared: Arc<Shared>) {
    loop {
        shared.follow();
        shared.forwarding.changed.notify_one();
        tokio::select! {
            () = shared.health.changed.notified() => {}
            () = tokio::time::sleep(STEP) => {}
        }
    }
}
