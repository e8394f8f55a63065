//! What is answered follows what is well.

use std::sync::Arc;
use std::time::Duration;

use chassis::life::Life;

use crate::alias;
use crate::compile::{Policies, with_copies};
use crate::serve::Shared;
use crate::state::State;

/// How long a start or a reload waits for the first outcomes of checks that are new.
const FIRST_OUTCOMES: Duration = Duration::from_secs(5);

/// Begins the checks and questions that are new with this state, ends those that nobody needs any more, and waits for
/// first outcomes. Until then nobody knows which answer is a good one. False when the process is to leave meanwhile.
pub(crate) async fn begin(shared: &Shared, next: &State, policies: Policies, life: &Life) -> bool {
    let (health, learned) = (&shared.health, &shared.learned);
    ask(next, shared);
    health.apply(policies.plan, policies.state).await;
    let settled = async {
        tokio::join!(
            health.settled(FIRST_OUTCOMES),
            learned.aliases.settled(FIRST_OUTCOMES)
        )
    };
    tokio::select! {
        (checked, asked) = settled => {
            if !checked {
                tracing::warn!("not every check has had an outcome: no client is sent to what is not known");
            }
            if !asked {
                tracing::warn!("not every target of an alias was answered for: what is not known is answered with SERVFAIL");
            }
            true
        }
        () = life.leaving() => false,
    }
}

/// Asks for the names of others that aliases lead to, also through copies of zones.
pub(crate) fn ask(state: &State, shared: &Shared) {
    let zones = with_copies(&state.zones, &shared.learned);
    alias::want(&shared.learned, &alias::outside(&zones), &state.resolving);
}

/// Lets a state answer by what is well now.
pub(crate) fn follow_now(state: &State, shared: &Shared) {
    if let Some(chooser) = &state.chooser {
        chooser.count_in(&shared.sites);
        chooser.follow(&shared.health.snapshot());
    }
}

/// Lets whichever state serves follow every change.
pub(crate) async fn follow(shared: Arc<Shared>) {
    let mut epochs = shared.health.epochs();
    loop {
        follow_now(&shared.state.load(), &shared);
        if epochs.changed().await.is_err() {
            return;
        }
    }
}
