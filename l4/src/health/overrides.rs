//! What operators and `control` have set, as the state file keeps it.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use chassis::health::{EndpointChange, EndpointOverride, Kept, Version};
use serde::{Deserialize, Serialize};

use crate::balance::HEAVIEST;

/// All that is set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Overrides {
    /// The form of the file.
    version: Version,
    /// By cluster and address.
    #[serde(default)]
    clusters: BTreeMap<String, BTreeMap<SocketAddr, EndpointOverride>>,
}

impl Overrides {
    /// What is set for an endpoint.
    pub(crate) fn of(&self, cluster: &str, address: SocketAddr) -> EndpointOverride {
        let set = self.clusters.get(cluster).and_then(|set| set.get(&address));
        set.copied().unwrap_or_default()
    }

    /// Changes what is set for an endpoint. What sets nothing is not kept.
    pub(super) fn change(&mut self, cluster: &str, address: SocketAddr, change: EndpointChange) {
        let endpoints = self.clusters.entry(cluster.to_owned()).or_default();
        change.apply(endpoints.entry(address).or_default());
        endpoints.retain(|_, set| *set != EndpointOverride::default());
        self.clusters.retain(|_, endpoints| !endpoints.is_empty());
    }
}

impl Kept for Overrides {
    fn judge(&self) -> Result<(), String> {
        for (name, endpoints) in &self.clusters {
            let weights = endpoints.values().filter_map(|endpoint| endpoint.weight);
            if weights.max().is_some_and(|weight| weight > HEAVIEST) {
                return Err(format!("a weight of `{name}` is more than {HEAVIEST}"));
            }
        }
        Ok(())
    }
}
