//! What the kernel is to forward, judged.

use chassis::config::Diagnostic;

use crate::config::{ClusterConfig, Config, ListenerConfig, Mode, SchedulerConfig};

pub(super) fn judge(config: &Config, mistakes: &mut Vec<Diagnostic>) {
    if let Some(fault) = config.nat.fault() {
        mistakes.push(config.nat.wrong(fault));
    }
    for (listener, cluster) in carried(config) {
        let other =
            |address: &std::net::SocketAddr| address.is_ipv4() != listener.address.is_ipv4();
        for endpoint in cluster.endpoints.iter().filter(|one| other(&one.address)) {
            let what = format!(
                "the kernel sends nothing from the listener `{}` on {} to {}: that is another version of IP",
                *listener.name, *listener.address, *endpoint.address
            );
            mistakes.push(endpoint.address.wrong(what));
        }
    }
}

/// What a cluster asks for that the kernel does not do. Another listener may lead to the same cluster, so that it may
/// be meant.
pub(super) fn warnings(config: &Config) -> Vec<Diagnostic> {
    let warnings = carried(config).flat_map(|(listener, cluster)| {
        let name = &listener.cluster;
        let not = |what: &str| {
            let what = format!("the kernel, which carries what comes here, {what}");
            name.as_ref().map(|name| name.wrong(what))
        };
        let scheduler = matches!(
            cluster.scheduler,
            SchedulerConfig::LeastConnections | SchedulerConfig::TwoChoices
        );
        let deals = scheduler.then(|| not("deals flows by their hash, whatever endpoints have"));
        let header = cluster.proxy_protocol.map(|_| not("sends no PROXY header"));
        let mut endpoints = cluster.endpoints.iter();
        let limited = endpoints.any(|endpoint| endpoint.limit.is_some());
        let limits = limited.then(|| not("knows no `limit` of endpoints"));
        [deals, header, limits].into_iter().flatten().flatten()
    });
    warnings.collect()
}

/// Listeners of which the kernel carries the flows, and their clusters.
fn carried(config: &Config) -> impl Iterator<Item = (&ListenerConfig, &ClusterConfig)> {
    let listeners = config.listener.iter();
    let listeners = listeners.filter(|listener| *listener.mode != Mode::Proxy);
    listeners.filter_map(|listener| {
        let name = listener.cluster.as_ref()?;
        Some((listener, config.cluster.get(name.as_str())?))
    })
}
