//! What operators and `control` have set, as the state file keeps it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use chassis::health::{EndpointOverride, Kept, Version};
use serde::{Deserialize, Serialize};

use crate::policy::LARGEST_WEIGHT;

/// All that is set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Overrides {
    /// The form of the file.
    version: Version,
    /// What is set for policies, by name.
    #[serde(default)]
    policies: BTreeMap<String, PolicyOverride>,
}

/// What is set for a policy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PolicyOverride {
    /// The share of clients whom the public pool serves first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) spill: Option<f64>,
    /// What is set for its endpoints, by address.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) endpoints: BTreeMap<IpAddr, EndpointOverride>,
}

impl Overrides {
    /// What is set for a policy.
    pub(super) fn policy(&self, policy: &str) -> Option<&PolicyOverride> {
        self.policies.get(policy)
    }

    /// Changes what is set for a policy. What sets nothing is not kept.
    pub(super) fn change(&mut self, policy: &str, change: impl FnOnce(&mut PolicyOverride)) {
        let mut set = self.policies.remove(policy).unwrap_or_default();
        change(&mut set);
        set.endpoints
            .retain(|_, endpoint| *endpoint != EndpointOverride::default());
        if set != PolicyOverride::default() {
            self.policies.insert(policy.to_owned(), set);
        }
    }
}

impl Kept for Overrides {
    fn judge(&self) -> Result<(), String> {
        for (name, policy) in &self.policies {
            if policy
                .spill
                .is_some_and(|spill| !(0.0..=1.0).contains(&spill))
            {
                return Err(format!("the spill of `{name}` is not from 0 to 1"));
            }
            let weights = policy
                .endpoints
                .values()
                .filter_map(|endpoint| endpoint.weight);
            if weights.max().is_some_and(|weight| weight > LARGEST_WEIGHT) {
                return Err(format!(
                    "a weight of `{name}` is more than {LARGEST_WEIGHT}"
                ));
            }
        }
        Ok(())
    }
}
