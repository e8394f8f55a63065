//! Sites, the map of clients to them, checks and policies of a configuration, put together.

use std::collections::BTreeSet;
use std::sync::Arc;

use chassis::config::{Diagnostic, Sources};
use chassis::health::StateFile;
use chassis::health::check::Checks;

use crate::answer::{Choice, Choose, Client, PolicyId};
use crate::chooser::Chooser;
use crate::config::Config;
use crate::geo::{Geo, Sites};
use crate::health::{Overrides, Plan};
use crate::policy::Policy;
use crate::zone::Zone;

/// How clients get their addresses.
#[derive(Debug, Default)]
pub(crate) struct Policies {
    /// None without sites.
    pub(crate) chooser: Option<Arc<Chooser>>,
    /// What is checked.
    pub(crate) plan: Plan,
    /// Where it is kept what is set by the admin API.
    pub(crate) state: Option<StateFile<Overrides>>,
}

impl Policies {
    /// Judges everything that policies are made of.
    ///
    /// # Errors
    /// Every mistake, with its place.
    pub(super) fn compile(config: &Config, sources: &mut Sources) -> Result<Self, Vec<Diagnostic>> {
        let mut mistakes = unknown_checks(config);
        let checks = Checks::compile(&config.check, sources);
        let checks = checks
            .map_err(|found| mistakes.extend(found))
            .unwrap_or_default();
        let state = config.health.read(sources).unwrap_or_else(|mistake| {
            mistakes.push(mistake);
            None
        });
        let sites = match Sites::compile(&config.site) {
            Ok(sites) => Arc::new(sites),
            // What names a site cannot be judged.
            Err(found) => {
                mistakes.extend(found);
                return Err(mistakes);
            }
        };
        let geo = geo(config, &sites, sources).unwrap_or_else(|found| {
            mistakes.extend(found);
            None
        });
        let mut policies = Vec::new();
        for (name, one) in &config.policy {
            match Policy::compile(name, one, &sites) {
                Ok(policy) => policies.push(Arc::new(policy)),
                Err(found) => mistakes.extend(found),
            }
        }
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        let plan = Plan::compile(sites.clone(), &policies, &checks)?;
        Ok(Self {
            chooser: geo.map(|geo| Arc::new(Chooser::new(sites, geo, policies))),
            plan,
            state,
        })
    }
}

/// Checks that policies name and nobody has written.
fn unknown_checks(config: &Config) -> Vec<Diagnostic> {
    let policies = config.policy.values();
    let pools = policies.flat_map(|policy| policy.private.iter().chain(&policy.public));
    let names = pools.flat_map(|pool| {
        let endpoints = pool.endpoints.iter();
        let own = endpoints.filter_map(|endpoint| endpoint.check.as_ref());
        pool.check.iter().chain(own)
    });
    let unknown = names.filter(|name| !config.check.contains_key(name.as_str()));
    unknown
        .map(|name| Checks::unknown(name, config.check.keys().map(|known| known.as_str())))
        .collect()
}

/// The names of policies that are not sound, so that records which name others can be told at the same time.
#[derive(Debug)]
pub(super) struct OnlyNames(Vec<String>);

impl OnlyNames {
    pub(super) fn of(config: &Config) -> Self {
        let names = config.policy.keys().map(|name| name.to_string());
        Self(names.collect())
    }
}

impl Choose for OnlyNames {
    fn policy(&self, name: &str) -> Option<PolicyId> {
        let at = self.0.iter().position(|known| known == name)?;
        u32::try_from(at).ok().map(PolicyId)
    }

    fn names(&self) -> Vec<String> {
        self.0.clone()
    }

    fn variants(&self, _: PolicyId, _: u16) -> Vec<Vec<Vec<u8>>> {
        Vec::new()
    }

    fn choose(&self, _: PolicyId, _: u16, _: Client) -> Choice {
        Choice {
            variant: None,
            scope: 0,
            site: None,
        }
    }
}

/// Policies that no record names: probably a record is missing, or names another.
pub(super) fn unused(config: &Config, zones: &[Zone]) -> Vec<Diagnostic> {
    let sets = zones.iter().flat_map(Zone::sets);
    let named = sets.filter_map(|(_, set)| set.policy.as_ref().map(|policy| policy.as_str()));
    let named: BTreeSet<&str> = named.collect();
    let unused = config
        .policy
        .keys()
        .filter(|name| !named.contains(name.as_str()));
    unused
        .map(|name| name.wrong(format!("no record names the policy `{}`", **name)))
        .collect()
}

/// None without sites: then nothing asks where clients are.
fn geo(
    config: &Config,
    sites: &Sites,
    sources: &mut Sources,
) -> Result<Option<Geo>, Vec<Diagnostic>> {
    match (&config.geo, sites.is_empty()) {
        (None, true) => Ok(None),
        (Some(geo), true) => Err(vec![
            geo.wrong("there is no site that clients could be mapped to")
                .help("add a `[[site]]` with a `name`"),
        ]),
        (None, false) => Geo::compile(&Default::default(), sites, sources).map(Some),
        (Some(geo), false) => Geo::compile(geo, sites, sources).map(Some),
    }
}
