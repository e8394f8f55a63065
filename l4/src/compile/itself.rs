//! Endpoints that are this balancer: what is sent there would go round.

use chassis::config::Diagnostic;
use chassis::net::reaches;

use crate::config::Config;
use crate::state::ListenerState;

/// Finds endpoints that are listeners of the same file.
pub(super) fn judge(config: &Config, listeners: &[ListenerState], mistakes: &mut Vec<Diagnostic>) {
    for (name, cluster) in &config.cluster {
        let leads = |listener: &&ListenerState| {
            let mut clusters = listener.routing.clusters();
            clusters.any(|cluster| *cluster.name == **name)
        };
        let protocols: Vec<_> = listeners
            .iter()
            .filter(leads)
            .map(|one| one.transport)
            .collect();
        for endpoint in cluster.endpoints.iter() {
            let hears = |listener: &&ListenerState| {
                let at = (listener.address, listener.options.dual_stack);
                protocols.contains(&listener.transport) && reaches(*endpoint.address, at)
            };
            if let Some(listener) = listeners.iter().find(hears) {
                let what = format!(
                    "this is the listener `{}` of this balancer itself",
                    listener.name
                );
                mistakes.push(endpoint.address.wrong(what));
            }
        }
    }
}
