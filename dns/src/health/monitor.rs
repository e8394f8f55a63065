//! Runs the checks of a plan, and publishes what follows.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use chassis::health::check::Check;
use chassis::health::probe::Failed;
use chassis::health::{Judgement, keep_checking};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::overrides::Overrides;
use super::plan::{Plan, Target};
use super::set::StateFile;
use super::snapshot::Snapshot;

/// The health of all endpoints. Its checks end with it.
#[derive(Debug)]
pub struct Health {
    inner: Mutex<Inner>,
    snapshot: ArcSwap<Snapshot>,
    epoch: watch::Sender<u64>,
    /// How many checks have no outcome yet.
    waiting: watch::Sender<usize>,
    /// Held while the state file or what it is for changes.
    pub(super) changing: tokio::sync::Mutex<()>,
    runtime: Handle,
    began: Instant,
}

/// What is behind the lock. The packet path never takes it.
#[derive(Debug, Default)]
pub(super) struct Inner {
    pub(super) plan: Plan,
    pub(super) running: BTreeMap<Target, Running>,
    pub(super) overrides: Overrides,
    pub(super) state: Option<std::path::PathBuf>,
    /// How many checks were ever begun.
    begun: u64,
}

/// A check that runs.
#[derive(Debug)]
pub(super) struct Running {
    check: Check,
    /// No other check had it.
    number: u64,
    pub(super) judgement: Judgement,
    heard: bool,
    /// Why the last outcome was bad.
    pub(super) why: Option<Arc<str>>,
    /// When it last went down after it was up, in milliseconds since this began.
    pub(super) down_at: Option<u64>,
    pub(super) passed: u64,
    pub(super) failed: u64,
    task: AbortHandle,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Health {
    /// Begins with nothing to check.
    pub fn new(runtime: Handle) -> Arc<Self> {
        Arc::new(Self {
            inner: Mutex::default(),
            snapshot: ArcSwap::default(),
            epoch: watch::Sender::new(0),
            waiting: watch::Sender::new(0),
            changing: tokio::sync::Mutex::default(),
            runtime,
            began: Instant::now(),
        })
    }

    /// Follows a plan from now on. Checks that are in it as before go on with what they know, others end or begin. What is
    /// set stays, unless the state file is another one.
    pub async fn apply(self: &Arc<Self>, plan: Plan, state: Option<StateFile>) {
        let _changing = self.changing.lock().await;
        let mut guard = self.lock();
        let inner = &mut *guard;
        let path = state.as_ref().map(|state| state.path.clone());
        if let Some(state) = state
            && inner.state != path
        {
            inner.overrides = state.overrides;
        }
        inner.state = path;
        inner
            .running
            .retain(|target, running| plan.targets.get(target) == Some(&running.check));
        for (target, check) in &plan.targets {
            if !inner.running.contains_key(target) {
                inner.begun += 1;
                let running = self.begin(target, check, inner.begun);
                inner.running.insert(target.clone(), running);
            }
        }
        inner.plan = plan;
        self.count_waiting(inner);
        self.publish(inner);
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
        let mut waiting = self.waiting.subscribe();
        let all = waiting.wait_for(|waiting| *waiting == 0);
        tokio::time::timeout(limit, all).await.is_ok()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        // Whatever panicked with it has changed single values only.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn publish(&self, inner: &Inner) {
        let next = Snapshot::next(&self.snapshot.load(), inner);
        let epoch = next.epoch;
        self.snapshot.store(Arc::new(next));
        self.epoch.send_replace(epoch);
    }

    fn begin(self: &Arc<Self>, target: &Target, check: &Check, number: u64) -> Running {
        let health = Arc::downgrade(self);
        let (of, checking) = (target.clone(), check.clone());
        let task = self.runtime.spawn(async move {
            let Check {
                probe,
                interval,
                timeout,
                ..
            } = &checking;
            let hear = |outcome, now| {
                if let Some(health) = health.upgrade() {
                    health.hear(&of, number, outcome, now);
                }
            };
            keep_checking(probe, of.0, *interval, *timeout, hear).await;
        });
        Running {
            judgement: check.judgement(),
            check: check.clone(),
            number,
            heard: false,
            why: None,
            down_at: None,
            passed: 0,
            failed: 0,
            task: task.abort_handle(),
        }
    }

    fn hear(&self, target: &Target, number: u64, outcome: Result<(), Failed>, now: Instant) {
        let mut guard = self.lock();
        let inner = &mut *guard;
        // One that was replaced or removed meanwhile is not heard any more.
        let running = inner
            .running
            .get_mut(target)
            .filter(|running| running.number == number);
        let Some(running) = running else {
            return;
        };
        let good = outcome.is_ok();
        *(if good {
            &mut running.passed
        } else {
            &mut running.failed
        }) += 1;
        running.why = outcome.err().map(|failed| failed.why.into());
        let was_up = running.judgement.verdict() == Some(true);
        let changed = running.judgement.hear(good, now, &running.check.thresholds);
        if changed == Some(false) && was_up {
            let since = now.saturating_duration_since(self.began).as_millis();
            running.down_at = Some(u64::try_from(since).unwrap_or(u64::MAX));
        }
        if let Some(up) = changed {
            tell(target, up, running.why.as_deref());
        }
        let first = !std::mem::replace(&mut running.heard, true);
        if changed.is_some() {
            self.publish(inner);
        }
        if first {
            self.count_waiting(inner);
        }
    }

    fn count_waiting(&self, inner: &Inner) {
        let waiting = inner.running.values().filter(|running| !running.heard);
        self.waiting.send_replace(waiting.count());
    }
}

fn tell((address, check): &Target, up: bool, why: Option<&str>) {
    match up {
        true => tracing::info!(%address, check, up, "health"),
        false => tracing::warn!(%address, check, up, why = why.unwrap_or_default(), "health"),
    }
}
