//! Sites, the map of clients to them, checks and policies of a configuration, put together.

use std::collections::BTreeSet;
use std::sync::Arc;

use chassis::config::{Diagnostic, Sources};

use crate::chooser::Chooser;
use crate::config::Config;
use crate::geo::{Geo, Sites};
use crate::health::{Checks, HealthConfig, Plan, StateFile};
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
    pub(crate) state: Option<StateFile>,
}

impl Policies {
    /// Judges everything that policies are made of.
    ///
    /// # Errors
    /// Every mistake, with its place.
    pub(super) fn compile(config: &Config, sources: &mut Sources) -> Result<Self, Vec<Diagnostic>> {
        let mut mistakes = Vec::new();
        let sites = Arc::new(Sites::compile(&config.site)?);
        let geo = geo(config, &sites, sources).unwrap_or_else(|found| {
            mistakes.extend(found);
            None
        });
        let checks = Checks::compile(&config.check, sources);
        let checks = checks
            .map_err(|found| mistakes.extend(found))
            .unwrap_or_default();
        let mut policies = Vec::new();
        for (name, one) in &config.policy {
            match Policy::compile(name, one, &sites) {
                Ok(policy) => policies.push(Arc::new(policy)),
                Err(found) => mistakes.extend(found),
            }
        }
        let state = state(&config.health, sources).unwrap_or_else(|mistake| {
            mistakes.push(mistake);
            None
        });
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

fn state(config: &HealthConfig, sources: &Sources) -> Result<Option<StateFile>, Diagnostic> {
    let Some(path) = &config.state else {
        return Ok(None);
    };
    let resolved = sources.resolve(path, path.place());
    let read = StateFile::read(&resolved);
    read.map(Some)
        .map_err(|error| path.wrong(error.to_string()))
}
