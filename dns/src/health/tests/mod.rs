//! What is set and kept, and what mistakes are told like. Checks against real servers are in `dns/tests/health.rs`.

mod api;
mod mistakes;
mod overrides;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use chassis::config::{Located, Report, load};
use chassis::health::check::{CheckConfig, Checks};
use chassis::health::{HealthConfig, StateFile};
use serde::Deserialize;

use super::{Health, Plan};
use crate::geo::{SiteConfig, Sites};
use crate::policy::{Policy, PolicyConfig};

/// The part of `dns.toml` that health needs.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    #[serde(default)]
    site: Vec<SiteConfig>,
    #[serde(default)]
    check: BTreeMap<Located<String>, CheckConfig>,
    #[serde(default)]
    policy: BTreeMap<Located<String>, PolicyConfig>,
    #[serde(default)]
    #[expect(dead_code, reason = "only that it is understood counts")]
    health: HealthConfig,
}

/// The plan of `dns.toml` in a folder.
fn plan(folder: &Path, text: &str) -> Result<Plan, Report> {
    let path = folder.join("dns.toml");
    fs::write(&path, text).unwrap();
    let mut loaded = load::<Config>(&path)?;
    let config = &loaded.config;
    let outcome = Sites::compile(&config.site).and_then(|sites| {
        let checks = Checks::compile(&config.check, &mut loaded.sources)?;
        let policies = config
            .policy
            .iter()
            .map(|(name, policy)| Policy::compile(name, policy, &sites));
        let policies = policies
            .map(|policy| policy.map(Arc::new))
            .collect::<Result<Vec<_>, _>>()?;
        Plan::compile(Arc::new(sites), &policies, &checks)
    });
    outcome.map_err(|mistakes| loaded.report(mistakes))
}

const POLICY: &str = r#"
[[site]]
name = "fra"
[policy.api.private]
endpoints = [{ site = "fra", address = "192.0.2.1" }, { site = "fra", address = "192.0.2.2", weight = 7 }]
[policy.api.public]
endpoints = [{ site = "fra", address = "2001:db8::1" }]
[policy.www.private]
endpoints = [{ site = "fra", address = "192.0.2.1" }]
"#;

/// Health without checks, kept in a folder.
async fn health(folder: &Path) -> Arc<Health> {
    let health = Health::new();
    let state = StateFile::read(&folder.join("state.json")).unwrap();
    health
        .apply(plan(folder, POLICY).unwrap(), Some(state))
        .await;
    health
}
