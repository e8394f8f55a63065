//! Setting states, weights and spill from outside.

use std::net::IpAddr;

use chassis::health::{EndpointChange, NotSet, present};
use serde::Deserialize;

use super::monitor::Health;
use super::overrides::PolicyOverride;
use super::plan::Plan;
use crate::policy::LARGEST_WEIGHT;

/// A change of what is set for a policy: what is absent stays, `null` goes back to what is configured (RFC 7396).
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyChange {
    #[serde(default, deserialize_with = "present")]
    spill: Option<Option<f64>>,
}

impl Health {
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
        let weight = change.weight.flatten();
        if weight.is_some_and(|weight| weight > LARGEST_WEIGHT) {
            return Err(NotSet::Wrong(format!(
                "a weight is at most {LARGEST_WEIGHT}"
            )));
        }
        let judge = |plan: &Plan| {
            let planned = plan.policies.get(policy);
            let planned = planned.ok_or_else(|| unknown_policy(policy))?;
            match planned.policy.endpoint(address) {
                Some(_) => Ok(()),
                None => Err(NotSet::Unknown(format!(
                    "endpoint {address} in the policy `{policy}`"
                ))),
            }
        };
        self.set(policy, judge, |set| {
            change.apply(set.endpoints.entry(address).or_default());
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
        let judge = |plan: &Plan| {
            let planned = plan.policies.get(policy);
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

    async fn set(
        &self,
        policy: &str,
        judge: impl FnOnce(&Plan) -> Result<(), NotSet>,
        change: impl FnOnce(&mut PolicyOverride),
    ) -> Result<(), NotSet> {
        judge(&self.plan())?;
        self.settings
            .change(|set| set.change(policy, change))
            .await?;
        self.settings
            .look(|set| tracing::info!(policy, set = ?set.policy(policy), "set by the admin API"));
        self.publish(&self.plan());
        Ok(())
    }
}

fn unknown_policy(name: &str) -> NotSet {
    NotSet::Unknown(format!("policy `{name}`"))
}
