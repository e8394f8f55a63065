//! Which endpoints are well: checks that outlive reloads, and what follows from them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chassis::health::check::Check;
use chassis::health::probe::Failed;
use chassis::health::{Judgement, keep_checking};
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;

use crate::balance::Endpoint;

/// What is checked.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// Endpoints that count as well.
    pub(crate) unchecked: Vec<Arc<Endpoint>>,
    pub(crate) checked: Vec<Checked>,
}

/// An endpoint with its check.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) cluster: Arc<str>,
    pub(crate) endpoint: Arc<Endpoint>,
    /// Where it is asked.
    pub(crate) target: SocketAddr,
    pub(crate) check: Check,
}

/// The checks of all endpoints.
#[derive(Debug, Default)]
pub(crate) struct Health {
    /// By cluster and address.
    running: Mutex<BTreeMap<(Arc<str>, SocketAddr), Running>>,
    /// Told when an endpoint has changed.
    pub(crate) changed: Notify,
    /// How many checks have no outcome yet.
    waiting: watch::Sender<usize>,
}

/// A check that runs.
#[derive(Debug)]
struct Running {
    target: SocketAddr,
    check: Check,
    endpoint: Arc<Endpoint>,
    judgement: Judgement,
    heard: bool,
    /// Why the last outcome was bad.
    why: Option<Arc<str>>,
    task: AbortHandle,
}

/// What a check has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// None before the first outcome.
    pub(crate) well: Option<bool>,
    /// Why the last outcome was bad.
    pub(crate) why: Option<Arc<str>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Running {
    fn is(&self, other: &Checked) -> bool {
        self.target == other.target
            && self.check == other.check
            && Arc::ptr_eq(&self.endpoint, &other.endpoint)
    }
}

impl Health {
    /// Follows a plan from now on. Checks that are in it as before go on with what they know, others end or begin.
    pub(crate) fn apply(self: &Arc<Self>, plan: Plan) {
        let now = Instant::now();
        for endpoint in plan.unchecked {
            endpoint.set_well(true, now);
        }
        let mut running = self.lock();
        let mut before = std::mem::take(&mut *running);
        for checked in plan.checked {
            let key = (checked.cluster.clone(), checked.endpoint.address);
            let kept = before.remove(&key).filter(|kept| kept.is(&checked));
            let next = kept.unwrap_or_else(|| self.begin(key.clone(), checked, now));
            running.insert(key, next);
        }
        self.count_waiting(&running);
        self.changed.notify_one();
    }

    /// Waits until each check has had an outcome, at most so long. Whether all had.
    pub(crate) async fn settled(&self, limit: Duration) -> bool {
        let mut waiting = self.waiting.subscribe();
        let all = waiting.wait_for(|waiting| *waiting == 0);
        tokio::time::timeout(limit, all).await.is_ok()
    }

    /// What was found of an endpoint; none when it has no check.
    pub(crate) fn finding(&self, cluster: &str, address: SocketAddr) -> Option<Finding> {
        let running = self.lock();
        let running = running.get(&(Arc::from(cluster), address))?;
        Some(Finding {
            well: running.judgement.verdict(),
            why: running.why.clone(),
        })
    }

    fn begin(
        self: &Arc<Self>,
        key: (Arc<str>, SocketAddr),
        checked: Checked,
        now: Instant,
    ) -> Running {
        let Checked {
            endpoint,
            target,
            check,
            ..
        } = checked;
        let judgement = check.judgement();
        endpoint.set_well(judgement.verdict() == Some(true), now);
        let health = Arc::downgrade(self);
        let checking = check.clone();
        let task = tokio::spawn(async move {
            let hear = |outcome, now| {
                if let Some(health) = health.upgrade() {
                    health.hear(&key, outcome, now);
                }
            };
            let Check {
                probe,
                interval,
                timeout,
                ..
            } = &checking;
            keep_checking(probe, target, *interval, *timeout, hear).await;
        });
        Running {
            target,
            check,
            endpoint,
            judgement,
            heard: false,
            why: None,
            task: task.abort_handle(),
        }
    }

    fn hear(&self, key: &(Arc<str>, SocketAddr), outcome: Result<(), Failed>, now: Instant) {
        let mut all = self.lock();
        let Some(running) = all.get_mut(key) else {
            return;
        };
        let good = outcome.is_ok();
        running.why = outcome.err().map(|failed| failed.why.into());
        let verdict = running.judgement.hear(good, now, &running.check.thresholds);
        if let Some(well) = verdict {
            running.endpoint.set_well(well, now);
            let (cluster, endpoint) = key;
            match &running.why {
                Some(why) => tracing::warn!(%cluster, %endpoint, %why, "an endpoint is not well"),
                None => tracing::info!(%cluster, %endpoint, "an endpoint is well"),
            }
            self.changed.notify_one();
        }
        running.heard = true;
        self.count_waiting(&all);
    }

    fn count_waiting(&self, running: &BTreeMap<(Arc<str>, SocketAddr), Running>) {
        let waiting = running.values().filter(|one| !one.heard).count();
        self.waiting.send_replace(waiting);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(Arc<str>, SocketAddr), Running>> {
        // Whatever panicked with it has changed single values only.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
