//! Which endpoints are well, and what operators have set: both outlive reloads.
//!
//! ```text
//! checks (one for each address and check) --verdict--+
//!                                                    +--> Endpoint: well, forced, weight --> following
//! admin API --> state file --> what is set ----------+
//! ```

mod api;
mod overrides;
mod report;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use chassis::health::check::Check;
use chassis::health::{
    EndpointChange, Findings, Monitor, NotSet, Settings, StateFile, StateFileError, Target,
};
use tokio::sync::Notify;

pub(crate) use self::api::router;
pub(crate) use self::overrides::Overrides;
pub(crate) use self::report::{EndpointReport, StateReport};

use crate::balance::{Endpoint, HEAVIEST};

/// What is checked, and for whom.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// All endpoints.
    pub(crate) endpoints: Vec<Planned>,
    /// What is asked. Endpoints that are asked in the same way at the same address share the outcomes.
    pub(crate) targets: BTreeMap<Target, Check>,
    /// What is set, and where that is kept.
    pub(crate) state: Option<StateFile<Overrides>>,
}

/// An endpoint, and what shows whether it is well.
#[derive(Debug)]
pub(crate) struct Planned {
    pub(crate) cluster: Arc<str>,
    pub(crate) endpoint: Arc<Endpoint>,
    /// None when it counts as well.
    pub(crate) target: Option<Target>,
}

/// The health of all endpoints.
#[derive(Debug)]
pub(crate) struct Health {
    endpoints: Mutex<Vec<Planned>>,
    monitor: Arc<Monitor>,
    settings: Settings<Overrides>,
    /// Told when an endpoint has changed.
    pub(crate) changed: Notify,
}

impl Health {
    /// Begins with nothing to check.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new_cyclic(|health: &Weak<Self>| {
            let health = health.clone();
            let changed = move |target: &Target| {
                if let Some(health) = health.upgrade() {
                    health.settle(Some(target));
                }
            };
            Self {
                endpoints: Mutex::default(),
                monitor: Monitor::new(changed),
                settings: Settings::default(),
                changed: Notify::default(),
            }
        })
    }

    /// Follows a plan from now on. Checks that are in it as before go on with what they know, others end or begin. What is
    /// set stays, unless the state file is another one.
    pub(crate) async fn apply(&self, plan: Plan) {
        self.settings.follow(plan.state).await;
        {
            let mut endpoints = self.lock();
            self.monitor.apply(&plan.targets);
            *endpoints = plan.endpoints;
        }
        self.settle(None);
    }

    /// Reads the state file again: another process may have changed it, until this one took its place.
    ///
    /// # Errors
    /// When it cannot be read, or is not what was written; nothing has changed then.
    pub(crate) async fn reread(&self) -> Result<(), StateFileError> {
        self.settings.reread().await?;
        self.settle(None);
        Ok(())
    }

    /// Waits until each check has had an outcome, at most so long. Whether all had.
    pub(crate) async fn settled(&self, limit: Duration) -> bool {
        self.monitor.settled(limit).await
    }

    /// Changes what is set for an endpoint. It is kept when this returns, and holds when tables were built anew.
    ///
    /// # Errors
    /// See [`NotSet`]; nothing has changed then.
    pub(crate) async fn set(
        &self,
        cluster: &str,
        address: SocketAddr,
        change: EndpointChange,
    ) -> Result<(), NotSet> {
        let weight = change.weight.flatten();
        if weight.is_some_and(|weight| weight > HEAVIEST) {
            return Err(NotSet::Wrong(format!("a weight is at most {HEAVIEST}")));
        }
        self.find(cluster, address)?;
        let changed = self
            .settings
            .change(|set| set.change(cluster, address, change));
        changed.await?;
        let set = self.settings.look(|set| set.of(cluster, address));
        tracing::info!(cluster, endpoint = %address, ?set, "set by the admin API");
        self.settle(None);
        Ok(())
    }

    /// Does something while no endpoint changes: whoever looks at several sees them before a change or after it, and
    /// not one that has lost its weight already beside one that has got none yet.
    pub(crate) fn still<T>(&self, work: impl FnOnce() -> T) -> T {
        let _endpoints = self.lock();
        work()
    }

    fn find(&self, cluster: &str, address: SocketAddr) -> Result<(), NotSet> {
        let endpoints = self.lock();
        let mut members = endpoints
            .iter()
            .filter(|one| *one.cluster == *cluster)
            .peekable();
        if members.peek().is_none() {
            return Err(NotSet::Unknown(format!("cluster `{cluster}`")));
        }
        match members.any(|one| one.endpoint.address == address) {
            true => Ok(()),
            false => Err(NotSet::Unknown(format!(
                "endpoint {address} in the cluster `{cluster}`"
            ))),
        }
    }

    /// Lets endpoints be what is found and set: those of a target, or all.
    fn settle(&self, of: Option<&Target>) {
        let endpoints = self.lock();
        let now = Instant::now();
        self.settings.look(|set| {
            self.monitor.look(|found| {
                let wanted = |one: &&Planned| of.is_none() || one.target.as_ref() == of;
                for planned in endpoints.iter().filter(wanted) {
                    planned.settle(set, found, now);
                }
            });
        });
        drop(endpoints);
        self.changed.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Planned>> {
        // It is only replaced as a whole.
        self.endpoints
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Planned {
    fn settle(&self, set: &Overrides, found: &Findings, now: Instant) {
        let endpoint = &self.endpoint;
        let set = set.of(&self.cluster, endpoint.address);
        endpoint.set_weight(set.weight, now);
        endpoint.force(set.state, now);
        let well = match &self.target {
            None => Some(true),
            Some(target) => found.of(target).and_then(|finding| finding.verdict),
        };
        // One that is checked in another way from now on stays what it was until the first outcome.
        if let Some(well) = well {
            endpoint.set_well(well, now);
        }
    }
}
