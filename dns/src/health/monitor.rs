//! The health of all endpoints: what checks find, what is set, and the snapshot that follows.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use chassis::health::{Monitor, Settings, StateFile, StateFileError};
use tokio::sync::watch;

use super::overrides::Overrides;
use super::plan::Plan;
use super::snapshot::Snapshot;

/// The health of all endpoints. Its checks end with it.
#[derive(Debug)]
pub struct Health {
    /// The packet path never takes the lock.
    plan: Mutex<Plan>,
    pub(super) monitor: Arc<Monitor>,
    pub(super) settings: Settings<Overrides>,
    snapshot: ArcSwap<Snapshot>,
    epoch: watch::Sender<u64>,
}

impl Health {
    /// Begins with nothing to check.
    pub fn new() -> Arc<Self> {
        Arc::new_cyclic(|health: &Weak<Self>| {
            let health = health.clone();
            let changed = move |_: &_| {
                if let Some(health) = health.upgrade() {
                    health.publish(&health.plan());
                }
            };
            Self {
                plan: Mutex::default(),
                monitor: Monitor::new(changed),
                settings: Settings::default(),
                snapshot: ArcSwap::default(),
                epoch: watch::Sender::new(0),
            }
        })
    }

    /// Follows a plan from now on. Checks that are in it as before go on with what they know, others end or begin. What is
    /// set stays, unless the state file is another one.
    pub async fn apply(&self, plan: Plan, state: Option<StateFile<Overrides>>) {
        self.settings.follow(state).await;
        let mut planned = self.plan();
        self.monitor.apply(&plan.targets);
        *planned = plan;
        self.publish(&planned);
    }

    /// Reads the state file again: another process may have changed it, until this one took its place.
    ///
    /// # Errors
    /// When it cannot be read, or is not what was written; nothing has changed then.
    pub async fn reread(&self) -> Result<(), StateFileError> {
        self.settings.reread().await?;
        self.publish(&self.plan());
        Ok(())
    }

    /// The state of health now.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Tells each new epoch. The snapshot is there before its epoch is told.
    pub fn epochs(&self) -> watch::Receiver<u64> {
        self.epoch.subscribe()
    }

    /// Waits until each check has had an outcome, at most so long: only then is a first answer a good one. Whether all had.
    pub async fn settled(&self, limit: Duration) -> bool {
        self.monitor.settled(limit).await
    }

    /// What is checked for whom. Nothing is published while it is held.
    pub(super) fn plan(&self) -> MutexGuard<'_, Plan> {
        // It is only replaced as a whole.
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the next snapshot. Whoever calls it holds the plan: of two snapshots the later knows more.
    pub(super) fn publish(&self, plan: &Plan) {
        let previous = self.snapshot.load();
        let next = self.settings.look(|set| {
            self.monitor
                .look(|found| Snapshot::next(&previous, plan, set, found))
        });
        let epoch = next.epoch;
        self.snapshot.store(Arc::new(next));
        self.epoch.send_replace(epoch);
    }
}
