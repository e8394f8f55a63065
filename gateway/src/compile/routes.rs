//! Routes and their chains of plugins.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use chassis::config::{Diagnostic, Located, Place};
use plugins::{Chain, Link, Plugin};

use super::{Compiler, Findings};
use crate::cluster::Cluster;
use crate::config::{Config, RouteConfig};
use crate::metrics::RouteCounters;
use crate::route::{Conditions, Pattern, RouteTable};
use crate::state::Route;

pub(super) struct Routes {
    pub(super) table: RouteTable,
    pub(super) routes: Vec<Arc<Route>>,
    pub(super) unmatched: Arc<Route>,
}

type Plugins = BTreeMap<String, Arc<dyn Plugin>>;
type Clusters = BTreeMap<String, Arc<Cluster>>;

/// What was seen of other routes, to find duplicates.
#[derive(Default)]
struct Seen {
    names: HashMap<String, Place>,
    matches: HashMap<(String, Pattern, Conditions), Place>,
}

impl Compiler<'_> {
    pub(super) fn routes(
        &self,
        config: &Config,
        plugins: &Plugins,
        clusters: &Clusters,
        findings: &mut Findings,
    ) -> Routes {
        let global = chain_links(config, &config.plugins, plugins, findings);
        let carried: HashMap<&str, &Arc<RouteCounters>> = self
            .previous
            .into_iter()
            .flat_map(|state| state.routes.iter())
            .map(|route| (&*route.name, &route.counters))
            .collect();
        let mut table = RouteTable::default();
        let mut routes = Vec::new();
        let mut seen = Seen::default();
        for route in &config.route {
            let links = chain_links(config, &route.plugins, plugins, findings);
            let cluster = findings.keep(cluster_of(route, config, clusters));
            let judged = findings.keep(self.judge(route, &mut seen));
            let (Some(cluster), Some((pattern, conditions))) = (cluster, judged) else {
                continue;
            };
            let hosts: Vec<&str> = route.hosts.iter().map(|host| host.as_str()).collect();
            table.insert(&hosts, &pattern, conditions);
            let name = route.name.as_str();
            routes.push(Arc::new(Route {
                name: name.into(),
                cluster,
                chain: Chain::new(global.iter().chain(&links).cloned()),
                grpc_web: route.grpc_web,
                counters: carried
                    .get(name)
                    .map(|one| (*one).clone())
                    .unwrap_or_default(),
            }));
        }
        table.finish();
        let counters = self.previous.map(|state| state.unmatched.counters.clone());
        let unmatched = Arc::new(Route {
            name: "".into(),
            cluster: None,
            chain: Chain::new(global),
            grpc_web: false,
            counters: counters.unwrap_or_default(),
        });
        Routes {
            table,
            routes,
            unmatched,
        }
    }

    fn judge(
        &self,
        route: &RouteConfig,
        seen: &mut Seen,
    ) -> Result<(Pattern, Conditions), Diagnostic> {
        if route.name.is_empty() {
            return Err(route.name.wrong("a route needs a name"));
        }
        let first = seen
            .names
            .insert(route.name.to_string(), route.name.place());
        if let Some(first) = first {
            return Err(route
                .name
                .wrong(format!("there are two routes named `{}`", *route.name))
                .help(format!("the first is at {}", self.sources.locate(first))));
        }
        let pattern = Pattern::parse(&route.path).map_err(|why| route.path.wrong(why))?;
        let conditions = Conditions::compile(route)?;
        let any = Located::nowhere(String::new());
        let hosts: Vec<&Located<String>> = match route.hosts.is_empty() {
            true => vec![&any],
            false => route.hosts.iter().collect(),
        };
        for host in hosts {
            if !host.is_empty() {
                validate_host(host)?;
            }
            let key = (
                host.to_ascii_lowercase(),
                pattern.clone(),
                conditions.clone(),
            );
            if let Some(first) = seen.matches.insert(key, route.name.place()) {
                return Err(route
                    .name
                    .wrong(format!(
                        "the route `{}` matches the same requests as another",
                        *route.name
                    ))
                    .help(format!("the other is at {}", self.sources.locate(first))));
            }
        }
        Ok((pattern, conditions))
    }
}

/// The route's cluster; none when it is known but was itself mistaken.
fn cluster_of(
    route: &RouteConfig,
    config: &Config,
    clusters: &Clusters,
) -> Result<Option<Arc<Cluster>>, Diagnostic> {
    let name = &route.cluster;
    match clusters.get(&**name) {
        Some(cluster) => Ok(Some(cluster.clone())),
        None if config.cluster.contains_key(name.as_str()) => Ok(None),
        None => Err(name
            .wrong(format!("there is no cluster `{}`", **name))
            .suggest(name, config.cluster.keys().map(|key| key.as_str()))),
    }
}

fn chain_links(
    config: &Config,
    names: &[Located<String>],
    plugins: &Plugins,
    findings: &mut Findings,
) -> Vec<Link> {
    let mut links: Vec<Link> = Vec::new();
    for name in names {
        if links.iter().any(|link| *link.name == ***name) {
            findings
                .mistakes
                .push(name.wrong(format!("`{}` is listed twice", **name)));
            continue;
        }
        match plugins.get(&**name) {
            Some(plugin) => links.push(Link {
                name: name.as_str().into(),
                plugin: plugin.clone(),
            }),
            None if config.plugin.contains_key(name.as_str()) => {}
            None => findings.mistakes.push(
                name.wrong(format!("there is no plugin `{}`", **name))
                    .suggest(name, config.plugin.keys().map(|key| key.as_str())),
            ),
        }
    }
    links
}

fn validate_host(host: &Located<String>) -> Result<(), Diagnostic> {
    let name = host.strip_prefix("*.").unwrap_or(host);
    let address = name
        .trim_matches(['[', ']'])
        .parse::<std::net::IpAddr>()
        .is_ok();
    match address || rustls_pki_types::DnsName::try_from(name).is_ok() {
        true => Ok(()),
        false => Err(host
            .wrong(format!("`{}` is not a host name", **host))
            .help("write \"api.example.com\" or \"*.example.com\", without a port")),
    }
}
