//! Endpoints that are this balancer: what is sent there may go round.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use chassis::config::Diagnostic;
use chassis::net::reaches;

use crate::config::Config;
use crate::state::ListenerState;

/// Finds endpoints that are listeners of the same file from which connections come back to the same cluster.
pub(super) fn judge(config: &Config, listeners: &[ListenerState], mistakes: &mut Vec<Diagnostic>) {
    for (name, cluster) in &config.cluster {
        let protocols: Vec<_> = listeners
            .iter()
            .filter(|listener| leads(listener, name))
            .map(|one| one.transport)
            .collect();
        for endpoint in cluster.endpoints.iter() {
            let mut here = hearing(listeners, *endpoint.address);
            let back = |listener: &&ListenerState| {
                protocols.contains(&listener.transport)
                    && comes_back(config, listeners, listener, name)
            };
            if let Some(listener) = here.find(back) {
                let what = format!(
                    "this is the listener `{}` of this balancer itself",
                    listener.name
                );
                mistakes.push(endpoint.address.wrong(what));
            }
        }
    }
}

fn leads(listener: &ListenerState, cluster: &str) -> bool {
    let mut clusters = listener.routing.clusters();
    clusters.any(|one| *one.name == *cluster)
}

fn hearing(
    listeners: &[ListenerState],
    address: SocketAddr,
) -> impl Iterator<Item = &ListenerState> {
    let hears = move |listener: &&ListenerState| {
        reaches(address, (listener.address, listener.options.dual_stack))
    };
    listeners.iter().filter(hears)
}

/// Whether what comes to a listener may get to a cluster, also by way of other listeners.
fn comes_back(
    config: &Config,
    listeners: &[ListenerState],
    from: &ListenerState,
    cluster: &str,
) -> bool {
    let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
    while let Some(listener) = next.pop() {
        if !seen.insert(&*listener.name) {
            continue;
        }
        if leads(listener, cluster) {
            return true;
        }
        for one in listener.routing.clusters() {
            let endpoints = config.cluster.get(&*one.name).into_iter();
            let endpoints = endpoints.flat_map(|cluster| cluster.endpoints.iter());
            let here = endpoints.flat_map(|endpoint| hearing(listeners, *endpoint.address));
            next.extend(here.filter(|one| one.transport == listener.transport));
        }
    }
    false
}
