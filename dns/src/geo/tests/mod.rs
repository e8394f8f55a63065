//! The map against a naive one, databases that the tests write, and what mistakes are told like.

mod against_naive;
mod mistakes;
mod writer;

use std::fs;
use std::net::IpAddr;
use std::path::Path;

use chassis::config::{Loaded, Report, load};
use serde::Deserialize;
use serde_json::json;

use self::writer::Writer;
use super::{Geo, GeoConfig, SiteConfig, Sites};

/// The part of `dns.toml` that is about places.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    #[serde(default)]
    site: Vec<SiteConfig>,
    #[serde(default)]
    geo: GeoConfig,
}

const SITES: &str = r#"
[[site]]
name = "sin"
latitude = 1.35
longitude = 103.82
[[site]]
name = "fra"
latitude = 50.11
longitude = 8.68
[[site]]
name = "nyc"
latitude = 40.71
longitude = -74.01
"#;

/// What is wrong with the configuration `dns.toml` in a folder, or its meaning.
fn compile_in(folder: &Path, text: &str) -> Result<(Geo, Sites, Loaded<Config>), Report> {
    let path = folder.join("dns.toml");
    fs::write(&path, text).unwrap();
    let mut loaded = load::<Config>(&path)?;
    let outcome = Sites::compile(&loaded.config.site).and_then(|sites| {
        let geo = Geo::compile(&loaded.config.geo, &sites, &mut loaded.sources)?;
        Ok((geo, sites))
    });
    match outcome {
        Ok((geo, sites)) => Ok((geo, sites, loaded)),
        Err(mistakes) => Err(loaded.report(mistakes)),
    }
}

fn compiled(folder: &Path, text: &str) -> (Geo, Sites) {
    let (geo, sites, _) = compile_in(folder, &format!("{SITES}{text}")).unwrap();
    (geo, sites)
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A database of countries and places, with what IPv6 databases have for IPv4.
fn write_places(path: &Path) {
    let mut writer = Writer::new(6);
    let berlin = json!({ "continent": { "code": "EU" }, "country": { "iso_code": "DE" },
        "location": { "latitude": 52.52, "longitude": 13.4 } });
    let california = json!({ "continent": { "code": "NA" }, "country": { "iso_code": "US" },
        "subdivisions": [{ "iso_code": "CA" }] });
    let boston = json!({ "continent": { "code": "NA" }, "country": { "iso_code": "US" },
        "location": { "latitude": 42.36, "longitude": -71.06 } });
    let registered = json!({ "registered_country": { "iso_code": "JP" } });
    for (network, record) in [
        ("192.0.2.0/24", &berlin),
        ("198.51.100.0/25", &california),
        ("198.51.100.128/25", &boston),
        ("203.0.113.0/24", &registered),
        ("2001:db8::/32", &berlin),
        ("2001:db8:1::/48", &california),
    ] {
        writer.insert(network.parse().unwrap(), record);
    }
    writer.alias_of_ipv4("::ffff:0:0/96".parse().unwrap());
    writer.alias_of_ipv4("2002::/16".parse().unwrap());
    fs::write(path, writer.finish()).unwrap();
}

const PLACES: &str = r#"
[geo]
default = "fra"
[geo.networks]
"10.0.0.0/8" = "nyc"
"10.1.0.0/16" = "sin"
"192.0.2.64/26" = "nyc"
[[geo.database]]
file = "places.mmdb"
nearest = true
[[geo.database.rule]]
country = ["US"]
subdivision = ["US-CA", "US-OR"]
site = "sin"
[[geo.database.rule]]
country = ["JP", "SG"]
site = "sin"
"#;

#[test]
fn clients_find_their_site_and_how_far_the_answer_holds() {
    let folder = tempfile::tempdir().unwrap();
    write_places(&folder.path().join("places.mmdb"));
    let (geo, sites) = compiled(folder.path(), PLACES);
    for (client, site, scope, why) in [
        ("10.2.3.4", "nyc", 15, "a network, up to the hole in it"),
        ("10.1.3.4", "sin", 16, "the longer of two networks"),
        (
            "192.0.2.1",
            "fra",
            26,
            "the nearest to Berlin, beside a network",
        ),
        ("192.0.2.70", "nyc", 26, "a network over a database"),
        ("198.51.100.5", "sin", 25, "a rule"),
        ("198.51.100.200", "nyc", 25, "the nearest to Boston"),
        ("203.0.113.9", "sin", 24, "where it is registered"),
        ("::ffff:203.0.113.9", "sin", 24, "IPv4 in IPv6"),
        ("2001:db8:1::7", "sin", 48, "a rule, in IPv6"),
        (
            "2001:db8:2::7",
            "fra",
            47,
            "beside it, where the default is the same",
        ),
        (
            "2002:cb00:7109::",
            "fra",
            15,
            "aliases of IPv4 are left out",
        ),
        ("8000::", "fra", 1, "the default"),
    ] {
        let found = geo.find(address(client));
        assert_eq!(sites.site(found.site).name, site, "{client}: {why}");
        assert_eq!(found.scope, scope, "{client}: {why}");
    }
}

#[test]
fn each_step_to_a_site_is_told() {
    let folder = tempfile::tempdir().unwrap();
    write_places(&folder.path().join("places.mmdb"));
    let (geo, sites, loaded) = compile_in(folder.path(), &format!("{SITES}{PLACES}")).unwrap();
    let told = |client| {
        let steps = geo.explain(address(client), &sites, &loaded.sources);
        steps.unwrap().join("\n")
    };
    let network = told("10.1.3.4");
    assert!(
        network.contains("network 10.1.0.0/16 is mapped to sin at"),
        "{network}"
    );
    assert!(network.contains("dns.toml:19:1"), "{network}");
    let rule = told("198.51.100.5");
    assert!(rule.contains("none of 3 networks holds it"), "{rule}");
    assert!(
        rule.contains("country US, subdivision CA: rule 1"),
        "{rule}"
    );
    let nearest = told("198.51.100.200");
    assert!(nearest.contains("nearest, at 306 km"), "{nearest}");
    assert!(told("8.8.8.8").contains("the default is fra"));
}

#[test]
fn sites_take_over_from_each_other_nearest_first_or_as_configured() {
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "{SITES}failover = [\"sin\"]\n[[site]]\nname = \"lab\"\n[geo]\ndefault = \"fra\"\n"
    );
    let (_, sites, _) = compile_in(folder.path(), &text).unwrap();
    let order = |name: &str| {
        let order = &sites.site(sites.id(name).unwrap()).order;
        let names = order.iter().map(|id| sites.site(*id).name.as_str());
        names.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(order("fra"), "fra nyc sin lab");
    assert_eq!(order("sin"), "sin fra nyc lab");
    assert_eq!(
        order("nyc"),
        "nyc sin fra lab",
        "as configured, then the rest"
    );
    assert_eq!(
        order("lab"),
        "lab fra nyc sin",
        "nobody knows where it is: by name"
    );
}

/// Whole-system tests need a database too, and have nothing to write one with.
#[test]
fn the_database_for_other_tests_is_the_one_that_is_written_here() {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/geo/places.mmdb");
    let folder = tempfile::tempdir().unwrap();
    let written = folder.path().join("places.mmdb");
    write_places(&written);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::copy(&written, &shipped).unwrap();
    }
    assert_eq!(fs::read(&written).unwrap(), fs::read(&shipped).unwrap());
}

/// One line for each mistake, without the folder.
fn lines(report: &Report, folder: &Path) -> Vec<String> {
    let folder = format!("{}/", folder.display());
    report
        .lines()
        .map(|line| line.replace(&folder, ""))
        .collect()
}
