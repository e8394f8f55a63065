//! Clusters, judged.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chassis::config::{Diagnostic, Located};
use chassis::health::check::{Check, Checks};
use chassis::units::Period;

use crate::balance::{Cluster, Endpoint, HEAVIEST, Scheduler};
use crate::config::{AllDown, ClusterConfig, Config, EndpointConfig, SchedulerConfig};
use crate::health::{Plan, Planned};
use crate::state::{ClusterState, State};

/// Clusters by name.
pub(super) type Clusters = BTreeMap<Arc<str>, Arc<ClusterState>>;

pub(super) fn compile(
    config: &Config,
    before: Option<&State>,
    now: Instant,
    mistakes: &mut Vec<Diagnostic>,
) -> Clusters {
    let clusters = config.cluster.iter().map(|(name, config)| {
        judge(config, mistakes);
        let name: Arc<str> = name.as_str().into();
        let known = |endpoint: &EndpointConfig| {
            let known = before?.endpoint(&name, *endpoint.address);
            known.cloned()
        };
        let cluster = ClusterState {
            name: name.clone(),
            cluster: cluster(config, known, now),
            configured: config.endpoints.iter().map(configured).collect(),
            proxy_protocol: config.proxy_protocol,
            connect_timeout: **config.connect_timeout,
            connect_budget: **config.connect_budget,
            drain: config.drain.as_ref().map(|drain| ***drain),
        };
        (name, Arc::new(cluster))
    });
    clusters.collect()
}

fn configured(endpoint: &EndpointConfig) -> (u32, Option<u32>) {
    let limit = endpoint.limit.as_ref().map(|limit| **limit);
    (*endpoint.weight, limit)
}

fn cluster(
    config: &ClusterConfig,
    known: impl Fn(&EndpointConfig) -> Option<Arc<Endpoint>>,
    now: Instant,
) -> Arc<Cluster> {
    let endpoints = config.endpoints.iter().map(|endpoint| {
        let new = || Arc::new(Endpoint::new(*endpoint.address, *endpoint.weight));
        known(endpoint).unwrap_or_else(new)
    });
    let scheduler = match config.scheduler {
        SchedulerConfig::RoundRobin => Scheduler::RoundRobin,
        SchedulerConfig::LeastConnections => Scheduler::LeastConnections,
        SchedulerConfig::TwoChoices => Scheduler::TwoChoices,
        SchedulerConfig::SourceHash => Scheduler::SourceHash,
        SchedulerConfig::Maglev => Scheduler::Maglev,
    };
    let slow_start = config.slow_start.as_ref();
    let slow_start = slow_start.map_or(Duration::ZERO, |period| ***period);
    let cluster = Cluster::new(scheduler, slow_start, endpoints.collect(), now);
    Arc::new(cluster.or_any(config.all_down == AllDown::Any, now))
}

fn judge(config: &ClusterConfig, mistakes: &mut Vec<Diagnostic>) {
    if config.endpoints.is_empty() {
        mistakes.push(config.endpoints.wrong("a cluster needs an endpoint"));
    }
    for (at, endpoint) in config.endpoints.iter().enumerate() {
        let address = &endpoint.address;
        let mut earlier = config.endpoints[..at].iter();
        if earlier.any(|other| *other.address == **address) {
            let what = format!("{} is in this cluster already", **address);
            mistakes.push(address.wrong(what));
        }
        if address.port() == 0 {
            mistakes.push(address.wrong("a port is from 1 to 65535"));
        }
        let ip = address.ip().to_canonical();
        let broadcast = ip == std::net::IpAddr::from([255; 4]);
        if ip.is_unspecified() || ip.is_multicast() || broadcast {
            mistakes.push(address.wrong("nobody can be connected to at this address"));
        }
        if *endpoint.weight > HEAVIEST {
            let what = format!("a weight is from 0 to {HEAVIEST}");
            mistakes.push(endpoint.weight.wrong(what));
        }
        if let Some(limit) = endpoint.limit.as_ref().filter(|limit| ***limit == 0) {
            let help = "`weight = 0` gives an endpoint no connections";
            mistakes.push(limit.wrong("must be 1 at least").help(help));
        }
    }
    let periods = [&config.connect_timeout, &config.connect_budget];
    for period in periods
        .into_iter()
        .chain(&config.slow_start)
        .chain(&config.drain)
    {
        mistakes.extend(zero(period));
    }
}

/// A time that is none.
pub(super) fn zero(period: &Located<Period>) -> Option<Diagnostic> {
    let none = period.is_zero();
    none.then(|| period.wrong("must be more than nothing"))
}

/// What is checked.
pub(super) fn plan(
    config: &Config,
    clusters: &Clusters,
    checks: &Checks,
    mistakes: &mut Vec<Diagnostic>,
) -> Plan {
    let mut plan = Plan::default();
    let broken = |name: &Located<String>| {
        let written = config.check.contains_key(name.as_str());
        written && !checks.all.contains_key(name.as_str())
    };
    for (name, config) in &config.cluster {
        let Some(state) = clusters.get(name.as_str()) else {
            continue;
        };
        // What is wrong with a check is told where it is.
        let judged = |check: &&Located<String>| !broken(check);
        let check = config.check.as_ref().filter(judged);
        let check = check.map(|check| checks.named(check));
        let check = match check.transpose() {
            Ok(check) => check,
            Err(mistake) => {
                mistakes.push(mistake);
                continue;
            }
        };
        let name = config.check.as_deref();
        let endpoints = state.cluster.endpoints().iter();
        for (endpoint, config) in endpoints.zip(config.endpoints.iter()) {
            let checked = check.zip(name).map(|(check, name)| {
                let target = (probed(config, check), name.clone());
                plan.targets.insert(target.clone(), check.clone());
                target
            });
            plan.endpoints.push(Planned {
                cluster: state.name.clone(),
                endpoint: endpoint.clone(),
                target: checked,
            });
        }
    }
    plan
}

/// Where an endpoint is asked.
fn probed(endpoint: &EndpointConfig, check: &Check) -> SocketAddr {
    let mut target = *endpoint.address;
    match (&endpoint.probe, check.port) {
        (Some(probe), _) => target = **probe,
        (None, Some(port)) => target.set_port(port),
        (None, None) => {}
    }
    target
}

/// Clusters that nobody is led to.
pub(super) fn unused(config: &Config) -> Vec<Diagnostic> {
    let listeners = config
        .listener
        .iter()
        .filter_map(|one| one.cluster.as_ref());
    let used: Vec<_> = listeners
        .chain(config.route.iter().map(|one| &one.cluster))
        .collect();
    let names = config.cluster.keys();
    let unused = names.filter(|name| !used.iter().any(|used| ***used == ***name));
    let what = |name: &Located<String>| {
        name.wrong(format!(
            "no listener and no route leads to the cluster `{}`",
            **name
        ))
    };
    unused.map(what).collect()
}
