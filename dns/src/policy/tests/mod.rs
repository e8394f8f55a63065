//! Decisions, one by one; how clients are distributed; and that tables decide as `decide` does.

mod distribution;
mod mistakes;
mod scenarios;
mod tables;

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};

use chassis::config::{Located, Report, load};
use serde::Deserialize;

use super::{EndpointView, Family, Policy, PolicyConfig, Status, View, decide};
use crate::geo::{SiteConfig, Sites};

/// The part of `dns.toml` that policies need.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    #[serde(default)]
    site: Vec<SiteConfig>,
    #[serde(default)]
    policy: BTreeMap<Located<String>, PolicyConfig>,
}

const SITES: &str = r#"
[[site]]
name = "fra"
latitude = 50.11
longitude = 8.68
[[site]]
name = "nyc"
latitude = 40.71
longitude = -74.01
[[site]]
name = "sin"
latitude = 1.35
longitude = 103.82
"#;

/// Sites and the only policy.
#[derive(Debug)]
struct Fixture {
    sites: Sites,
    policy: Policy,
}

fn judged(text: &str) -> Result<Fixture, Report> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dns.toml");
    fs::write(&path, text).unwrap();
    let loaded = load::<Config>(&path)?;
    let sites = match Sites::compile(&loaded.config.site) {
        Ok(sites) => sites,
        Err(mistakes) => return Err(loaded.report(mistakes)),
    };
    let (name, config) = loaded.config.policy.first_key_value().unwrap();
    match Policy::compile(name, config, &sites) {
        Ok(policy) => Ok(Fixture { sites, policy }),
        Err(mistakes) => Err(loaded.report(mistakes)),
    }
}

fn fixture(policy: &str) -> Fixture {
    judged(&format!("{SITES}{policy}")).unwrap()
}

impl Fixture {
    fn all_up(&self) -> View {
        View::all_up(&self.policy)
    }

    /// A view in which these are down since a moment in milliseconds.
    fn down(&self, down: &[(&str, u64)]) -> View {
        let mut view = self.all_up();
        for (address, at) in down {
            view.endpoints[self.at(address)] = EndpointView {
                status: Status::Down,
                down_at: Some(*at),
                ..EndpointView::up()
            };
        }
        view
    }

    fn at(&self, address: &str) -> usize {
        self.policy.endpoint(address.parse().unwrap()).unwrap()
    }

    fn site(&self, name: &str) -> crate::geo::SiteId {
        self.sites.id(name).unwrap()
    }

    /// The addresses that a client of a site is answered, or the outcome.
    fn answer(&self, site: &str, family: Family, client: &str, view: &View) -> String {
        let client = client.parse().unwrap();
        let choice = decide(
            &self.policy,
            &self.sites,
            self.site(site),
            family,
            client,
            view,
        );
        match choice.addresses.is_empty() {
            true => format!("{:?}", choice.outcome),
            false => {
                let addresses = choice.addresses.iter().map(IpAddr::to_string);
                addresses.collect::<Vec<_>>().join(" ")
            }
        }
    }
}

/// 100,000 client prefixes, one /24 after the other.
fn clients() -> impl Iterator<Item = IpAddr> {
    (0..100_000u32).map(|at| Ipv4Addr::from_bits((11 << 24) + (at << 8) + 7).into())
}
