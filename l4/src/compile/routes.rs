//! Routes, judged: which cluster gets which name.

use std::sync::Arc;

use chassis::config::{Diagnostic, Located};

use super::clusters::Clusters;
use super::tls::Ending;
use crate::config::{Config, ListenerConfig, Mode, RouteConfig};
use crate::forward::Transport;
use crate::sniff::ServerName;
use crate::state::{ClusterState, ListenerState, Routing, Target};

/// Which cluster gets which connections of a listener.
pub(super) fn compile(
    listener: &ListenerConfig,
    config: &Config,
    clusters: &Clusters,
    mut ending: Ending<'_, '_>,
    mistakes: &mut Vec<Diagnostic>,
) -> Routing {
    let default = listener.cluster.as_ref();
    // Told of the others by `listeners`.
    let ends = *listener.mode == Mode::Proxy && *listener.protocol == Transport::Tcp;
    let tls = listener.tls.as_ref().filter(|_| ends);
    let tls = tls.and_then(|tls| ending.terminator(&[], tls));
    let mut routing = Routing {
        default: default
            .and_then(|name| cluster(name, clusters, mistakes))
            .map(|cluster| Target { cluster, tls }),
        ..Routing::default()
    };
    if *listener.mode != Mode::Proxy {
        return routing;
    }
    for route in config.route.iter().filter(|route| is_for(route, listener)) {
        // Told once, by `judge`.
        let Some(cluster) = clusters.get(route.cluster.as_str()) else {
            continue;
        };
        let tls = route.tls.as_ref().filter(|_| ends);
        let target = Target {
            cluster: cluster.clone(),
            tls: tls.and_then(|tls| ending.terminator(&route.names, tls)),
        };
        for name in route.names.iter() {
            let (names, read) = match name.strip_prefix("*.") {
                Some(below) => (&mut routing.below, below),
                None => (&mut routing.exact, name.as_str()),
            };
            let Some(read) = ServerName::read(read.as_bytes()) else {
                continue;
            };
            let twice = names.insert(read.as_str().into(), target.clone());
            if twice.is_some() {
                let what = format!(
                    "the listener `{}` has a route for `{}` already",
                    *listener.name, **name
                );
                mistakes.push(name.wrong(what));
            }
        }
    }
    routing
}

fn is_for(route: &RouteConfig, listener: &ListenerConfig) -> bool {
    let named = || route.listeners.iter().any(|name| **name == *listener.name);
    route.listeners.is_empty() || named()
}

/// Judges what is the same for every listener.
pub(super) fn judge(config: &Config, clusters: &Clusters, mistakes: &mut Vec<Diagnostic>) {
    for route in &config.route {
        cluster(&route.cluster, clusters, mistakes);
        if route.names.is_empty() {
            let help = "what has no route gets the `cluster` of the listener";
            mistakes.push(route.names.wrong("a route needs a name").help(help));
        }
        for name in route.names.iter() {
            let read = name.strip_prefix("*.").unwrap_or(name);
            if ServerName::read(read.as_bytes()).is_none() {
                let what = format!("`{}` is not a host name", **name);
                let help = "write \"api.example.com\", or \"*.example.com\" for all names below";
                mistakes.push(name.wrong(what).help(help));
            }
        }
        for name in &route.listeners {
            let listener = config.listener.iter().find(|one| *one.name == **name);
            match listener.map(|listener| *listener.mode) {
                Some(Mode::Proxy) => {}
                Some(_) => mistakes.push(name.wrong(format!(
                    "the kernel carries the connections of `{}`, and does not look for names",
                    **name
                ))),
                None => {
                    let known = config.listener.iter().map(|one| one.name.as_str());
                    let wrong = name.wrong(format!("there is no listener `{}`", **name));
                    mistakes.push(wrong.suggest(name, known));
                }
            }
        }
    }
}

/// A cluster by its name.
fn cluster(
    name: &Located<String>,
    clusters: &Clusters,
    mistakes: &mut Vec<Diagnostic>,
) -> Option<Arc<ClusterState>> {
    let known = clusters.get(name.as_str()).cloned();
    if known.is_none() {
        let wrong = name.wrong(format!("there is no cluster `{}`", **name));
        mistakes.push(wrong.suggest(name, clusters.keys().map(|known| &**known)));
    }
    known
}

/// Routes that no listener has.
pub(super) fn warnings(config: &Config, listeners: &[ListenerState]) -> Vec<Diagnostic> {
    if listeners
        .iter()
        .any(|listener| listener.mode == Mode::Proxy)
    {
        return Vec::new();
    }
    let what = "no listener looks for names: the kernel carries all connections";
    config
        .route
        .iter()
        .map(|route| route.names.wrong(what))
        .collect()
}
