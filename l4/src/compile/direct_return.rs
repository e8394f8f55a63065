//! Listeners with mode `dr`, judged: what frames that only get another hardware address can do.

use std::collections::BTreeSet;

use chassis::config::{Diagnostic, Loaded};

use crate::config::{ClusterConfig, Config, ListenerConfig, Mode};
use crate::dr;

pub(super) fn judge(
    loaded: &Loaded<Config>,
    mistakes: &mut Vec<Diagnostic>,
    warnings: &mut Vec<Diagnostic>,
) {
    let config = &loaded.config;
    let listeners = config.listener.iter();
    let listeners: Vec<_> = listeners.filter(|one| *one.mode == Mode::Dr).collect();
    let Some(first) = listeners.first() else {
        return;
    };
    if !dr::BUILT_IN {
        let what = "this binary was built without the mode `dr`, and will not start";
        warnings.push(first.mode.wrong(what));
    }
    let options = config.dr.mistakes().into_iter();
    mistakes.extend(options.map(|(key, what)| {
        let place = loaded.place_of(&format!("dr.{key}"));
        Diagnostic::new(place, what)
    }));
    for listener in listeners {
        let clusters = config.cluster.iter();
        let cluster = listener.cluster.as_ref().and_then(|wanted| {
            let mut clusters = clusters.filter(|(name, _)| ***name == **wanted);
            clusters.next().map(|(_, cluster)| cluster)
        });
        if let Some(cluster) = cluster {
            members(listener, cluster, mistakes);
        }
    }
}

fn members(listener: &ListenerConfig, cluster: &ClusterConfig, mistakes: &mut Vec<Diagnostic>) {
    let port = listener.address.port();
    let mut seen = BTreeSet::new();
    for endpoint in cluster.endpoints.iter() {
        let address = &endpoint.address;
        if address.port() != port {
            let what = format!(
                "mode `dr` does not change the port: endpoints listen on {port}, as the clients' address says"
            );
            mistakes.push(address.wrong(what));
        }
        if !seen.insert(address.ip()) {
            mistakes.push(address.wrong("in mode `dr` a machine is one endpoint"));
        }
    }
}
