//! Every configuration in docs/dns-policies.md is understood and means something.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chassis::config::{Located, load};
use serde::Deserialize;
use tidegate_dns::geo::{Geo, GeoConfig, SiteConfig, Sites};
use tidegate_dns::health::{CheckConfig, Checks, HealthConfig, Plan};
use tidegate_dns::policy::{Policy, PolicyConfig};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    site: Vec<SiteConfig>,
    geo: GeoConfig,
    #[serde(default)]
    check: BTreeMap<Located<String>, CheckConfig>,
    #[serde(default)]
    policy: BTreeMap<Located<String>, PolicyConfig>,
    #[serde(default, rename = "health")]
    _health: HealthConfig,
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[test]
fn every_block_is_understood() {
    let page = fs::read_to_string(repository().join("docs/dns-policies.md")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let maps = folder.path().join("maps");
    fs::create_dir(&maps).unwrap();
    let offices = page.split_once("```text\n   # the offices").unwrap().1;
    fs::write(
        maps.join("offices.map"),
        offices.split_once("```").unwrap().0,
    )
    .unwrap();
    let places = repository().join("tests/geo/places.mmdb");
    for name in ["GeoLite2-ASN.mmdb", "GeoLite2-City.mmdb"] {
        fs::copy(&places, maps.join(name)).unwrap();
    }
    let blocks = page.split("```toml\n# dns.toml\n").skip(1);
    let blocks: Vec<&str> = blocks
        .map(|rest| rest.split_once("\n```").unwrap().0)
        .collect();
    assert!(blocks.len() >= 2);
    for block in blocks {
        let path = folder.path().join("dns.toml");
        fs::write(&path, block).unwrap();
        let mut loaded = load::<Config>(&path).unwrap_or_else(|report| panic!("{report}"));
        let config = &loaded.config;
        let sites = Sites::compile(&config.site).unwrap();
        Geo::compile(&config.geo, &sites, &mut loaded.sources).unwrap();
        let checks = Checks::compile(&config.check, &loaded.sources).unwrap();
        let policies = config.policy.iter();
        let policies =
            policies.map(|(name, one)| Arc::new(Policy::compile(name, one, &sites).unwrap()));
        let policies: Vec<_> = policies.collect();
        Plan::compile(Arc::new(sites), &policies, &checks).unwrap();
    }
}
