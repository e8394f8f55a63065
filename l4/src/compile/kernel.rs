//! What the kernel is to forward, judged.

use chassis::config::Diagnostic;

use crate::config::{Config, Mode};

pub(super) fn judge(config: &Config, mistakes: &mut Vec<Diagnostic>) {
    if let Some(fault) = config.nat.fault() {
        mistakes.push(config.nat.wrong(fault));
    }
    for listener in &config.listener {
        let cluster = listener
            .cluster
            .as_ref()
            .filter(|_| *listener.mode != Mode::Proxy);
        let Some(cluster) = cluster.and_then(|name| config.cluster.get(name.as_str())) else {
            continue;
        };
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
