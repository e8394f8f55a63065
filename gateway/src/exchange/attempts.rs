//! Which endpoints were tried for a request, and whether there is another.

use std::sync::Arc;

use crate::cluster::{Cluster, Endpoint};

/// The endpoints that a request was sent to.
#[derive(Default)]
pub(crate) struct Attempts {
    /// The endpoint in use.
    current: Option<Arc<Endpoint>>,
    /// Endpoints that could not be connected to, or broke off before an answer.
    tried: Vec<Arc<Endpoint>>,
}

impl Attempts {
    /// The next endpoint that was not tried yet.
    pub(crate) fn pick(&mut self, cluster: &Cluster) -> Option<&Arc<Endpoint>> {
        let endpoint = cluster.pick(&self.tried)?;
        Some(self.current.insert(endpoint))
    }

    /// The endpoint in use.
    pub(crate) fn current(&self) -> Option<&Arc<Endpoint>> {
        self.current.as_ref()
    }

    /// Gives up the endpoint in use; whether there is another to try.
    pub(crate) fn try_another(&mut self, cluster: &Cluster) -> bool {
        self.tried.extend(self.current.take());
        self.tried.len() <= cluster.retries && self.tried.len() < cluster.members.len()
    }
}
