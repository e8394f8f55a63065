//! Setting states, weights and spill from outside.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer};

use super::monitor::{Health, Inner};
use super::overrides::{Forced, Overrides, PolicyOverride, StateFileError};
use crate::policy::LARGEST_WEIGHT;

/// The state file and what is in it.
#[derive(Clone, Debug)]
pub struct StateFile {
    /// Where it is.
    pub path: PathBuf,
    pub(super) overrides: Overrides,
}

impl StateFile {
    /// Reads a state file; it need not be there yet.
    ///
    /// # Errors
    /// When it cannot be read, or is not what was written.
    pub fn read(path: &Path) -> Result<Self, StateFileError> {
        Ok(Self {
            path: path.to_owned(),
            overrides: Overrides::read(path)?,
        })
    }
}

/// A change of what is set for an endpoint: what is absent stays, `null` goes back to what is configured (RFC 7396).
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndpointChange {
    #[serde(default, deserialize_with = "present")]
    state: Option<Option<Forced>>,
    #[serde(default, deserialize_with = "present")]
    weight: Option<Option<u32>>,
}

/// A change of what is set for a policy, in the same way.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyChange {
    #[serde(default, deserialize_with = "present")]
    spill: Option<Option<f64>>,
}

/// Tells `null` from what is absent.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    value: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(value).map(Some)
}

/// Why nothing was set.
#[derive(Debug, thiserror::Error)]
pub enum NotSet {
    /// The client names what there is not.
    #[error("there is no {0}")]
    Unknown(String),
    /// The client asks for what cannot be.
    #[error("{0}")]
    Wrong(String),
    /// It could not be kept, and so it does not hold.
    #[error(transparent)]
    NotKept(#[from] StateFileError),
}

impl Health {
    /// Reads the state file again: another process may have changed it, until this one took its place.
    ///
    /// # Errors
    /// When it cannot be read, or is not what was written; nothing has changed then.
    pub async fn reread(&self) -> Result<(), StateFileError> {
        let _changing = self.changing.lock().await;
        let path = self.lock().state.clone();
        if let Some(path) = path {
            let overrides = Overrides::read(&path)?;
            let mut inner = self.lock();
            inner.overrides = overrides;
            self.publish(&inner);
        }
        Ok(())
    }

    /// Changes what is set for an endpoint. It holds, and is kept, when this returns.
    ///
    /// # Errors
    /// See [`NotSet`]; nothing has changed then.
    pub async fn set_endpoint(
        &self,
        policy: &str,
        address: IpAddr,
        change: EndpointChange,
    ) -> Result<(), NotSet> {
        let EndpointChange { state, weight } = change;
        if weight
            .flatten()
            .is_some_and(|weight| weight > LARGEST_WEIGHT)
        {
            return Err(NotSet::Wrong(format!(
                "a weight is at most {LARGEST_WEIGHT}"
            )));
        }
        let judge = |inner: &Inner| {
            let planned = inner.plan.policies.get(policy);
            let planned = planned.ok_or_else(|| unknown_policy(policy))?;
            match planned.policy.endpoint(address) {
                Some(_) => Ok(()),
                None => Err(NotSet::Unknown(format!(
                    "endpoint {address} in the policy `{policy}`"
                ))),
            }
        };
        self.set(policy, judge, |set| {
            let endpoint = set.endpoints.entry(address).or_default();
            if let Some(state) = state {
                endpoint.state = state.unwrap_or_default();
            }
            if let Some(weight) = weight {
                endpoint.weight = weight;
            }
        })
        .await
    }

    /// Changes what is set for a policy. It holds, and is kept, when this returns.
    ///
    /// # Errors
    /// See [`NotSet`]; nothing has changed then.
    pub async fn set_policy(&self, policy: &str, change: PolicyChange) -> Result<(), NotSet> {
        let spill = change.spill.flatten();
        if spill.is_some_and(|spill| !(0.0..=1.0).contains(&spill)) {
            return Err(NotSet::Wrong("a spill is from 0 to 1".into()));
        }
        let judge = |inner: &Inner| {
            let planned = inner.plan.policies.get(policy);
            let planned = planned.ok_or_else(|| unknown_policy(policy))?;
            match spill.is_some() && !planned.policy.has_public() {
                true => Err(NotSet::Wrong(format!(
                    "the policy `{policy}` has no public pool"
                ))),
                false => Ok(()),
            }
        };
        self.set(policy, judge, |set| {
            if change.spill.is_some() {
                set.spill = spill;
            }
        })
        .await
    }

    /// Writes first, so that what holds is kept.
    async fn set(
        &self,
        policy: &str,
        judge: impl FnOnce(&Inner) -> Result<(), NotSet>,
        change: impl FnOnce(&mut PolicyOverride),
    ) -> Result<(), NotSet> {
        let _changing = self.changing.lock().await;
        let (mut overrides, path) = {
            let inner = self.lock();
            judge(&inner)?;
            (inner.overrides.clone(), inner.state.clone())
        };
        overrides.change(policy, change);
        if let Some(path) = path {
            let written = overrides.clone();
            let writing = tokio::task::spawn_blocking(move || written.write(&path));
            writing
                .await
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
        }
        let mut inner = self.lock();
        let set = overrides.policy(policy).cloned().unwrap_or_default();
        tracing::info!(policy, %set, "set by the admin API");
        inner.overrides = overrides;
        self.publish(&inner);
        Ok(())
    }
}

fn unknown_policy(name: &str) -> NotSet {
    NotSet::Unknown(format!("policy `{name}`"))
}
