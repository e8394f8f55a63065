//! Place, health and weight together.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::sync::Arc;

use chassis::config::{Located, Sources, load};
use serde::Deserialize;

use super::{Chooser, Chosen};
use crate::geo::{Geo, GeoConfig, SiteConfig, Sites};
use crate::health::Snapshot;
use crate::policy::{EndpointView, Family, Policy, PolicyConfig, Status, View};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    site: Vec<SiteConfig>,
    geo: GeoConfig,
    policy: BTreeMap<Located<String>, PolicyConfig>,
}

const TEXT: &str = r#"
[[site]]
name = "fra"
[[site]]
name = "nyc"
[geo]
default = "fra"
networks = { "10.0.0.0/8" = "nyc", "10.7.0.0/16" = "fra" }
[policy.api]
answers = 2
[policy.api.private]
all_down = { fixed = ["192.0.2.80"] }
endpoints = [
    { site = "fra", address = "192.0.2.1" },
    { site = "fra", address = "192.0.2.2" },
    { site = "fra", address = "192.0.2.3" },
    { site = "nyc", address = "192.0.2.9" },
]
[policy.www.private]
endpoints = [{ site = "fra", address = "192.0.2.1" }]
"#;

fn chooser() -> (Chooser, Arc<Sites>, Sources) {
    chooser_of(TEXT)
}

fn chooser_of(text: &str) -> (Chooser, Arc<Sites>, Sources) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dns.toml");
    fs::write(&path, text).unwrap();
    let mut loaded = load::<Config>(&path).unwrap();
    let sites = Sites::compile(&loaded.config.site).unwrap();
    let geo = Geo::compile(&loaded.config.geo, &sites, &mut loaded.sources).unwrap();
    let policies = loaded.config.policy.iter();
    let policies =
        policies.map(|(name, one)| Arc::new(Policy::compile(name, one, &sites).unwrap()));
    let policies = policies.collect();
    let sites = Arc::new(sites);
    (
        Chooser::new(sites.clone(), geo, policies),
        sites,
        loaded.sources,
    )
}

fn follow(chooser: &Chooser, sites: &Arc<Sites>, down: &[&str]) {
    let view = |policy: &Policy| {
        let mut view = View::all_up(policy);
        for address in down {
            if let Some(at) = policy.endpoint(address.parse().unwrap()) {
                view.endpoints[at] = EndpointView {
                    status: Status::Down,
                    ..EndpointView::up()
                };
            }
        }
        view
    };
    chooser.follow(&Snapshot::of(sites.clone(), chooser.policies(), view));
}

/// The addresses of an answer, its scope, and whether it is a last resort.
fn answer(chooser: &Chooser, client: &str) -> (Vec<String>, u8, bool) {
    let Chosen {
        variant,
        scope,
        last_resort,
        ..
    } = chooser.choose(0, Family::V4, client.parse().unwrap());
    let variants = chooser.policies()[0].variants(Family::V4);
    let addresses = variant.map(|number| variants[number as usize].clone());
    let addresses = addresses
        .unwrap_or_default()
        .iter()
        .map(IpAddr::to_string)
        .collect();
    (addresses, scope, last_resort)
}

#[test]
fn an_answer_follows_from_place_and_health_and_says_for_whom_it_holds() {
    let (chooser, sites, _) = chooser();
    let none = chooser.choose(0, Family::V4, "10.1.2.3".parse().unwrap());
    assert_eq!(
        (none.variant, none.scope),
        (None, 0),
        "nothing is known yet"
    );
    follow(&chooser, &sites, &[]);
    assert_eq!(
        answer(&chooser, "10.1.2.3"),
        (vec!["192.0.2.9".into()], 14, false)
    );
    let (addresses, scope, _) = answer(&chooser, "10.7.2.3");
    assert_eq!((addresses.len(), scope), (2, 24), "the prefix decides too");
    follow(&chooser, &sites, &["192.0.2.9", "192.0.2.1"]);
    let left = vec!["192.0.2.2".to_owned(), "192.0.2.3".to_owned()];
    assert_eq!(answer(&chooser, "10.1.2.3").0, left);
    let all = ["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.9"];
    follow(&chooser, &sites, &all);
    assert_eq!(
        answer(&chooser, "10.1.2.3"),
        (vec!["192.0.2.80".into()], 14, true)
    );
    assert_eq!(
        chooser
            .choose(0, Family::V6, "10.1.2.3".parse().unwrap())
            .variant,
        Some(0),
        "empty"
    );
}

#[test]
fn only_policies_whose_view_changed_get_new_tables() {
    let (chooser, sites, _) = chooser();
    let first = Snapshot::of(sites.clone(), chooser.policies(), View::all_up);
    chooser.follow(&first);
    let before = chooser.now.load_full();
    let mut second = Snapshot::of(sites.clone(), chooser.policies(), View::all_up);
    second
        .policies
        .insert("www".into(), first.policies["www"].clone());
    chooser.follow(&second);
    let after = chooser.now.load_full();
    assert!(!Arc::ptr_eq(&before[0].tables, &after[0].tables));
    assert!(Arc::ptr_eq(&before[1].tables, &after[1].tables));
    // The view of another configuration has other endpoints in other places.
    let (other, sites, _) = chooser_of(&TEXT.replace("192.0.2.3", "192.0.2.4"));
    chooser.follow(&Snapshot::of(sites, other.policies(), |_| View::default()));
    assert_eq!(
        answer(&chooser, "10.1.2.3").0,
        ["192.0.2.9"],
        "it is passed over"
    );
}

#[test]
fn place_and_choice_are_explained_together() {
    let (chooser, sites, sources) = chooser();
    follow(&chooser, &sites, &["192.0.2.9"]);
    let client = "10.1.2.3".parse().unwrap();
    let steps = chooser.explain(0, Family::V4, client, &sources).unwrap();
    let expected = [
        "network 10.0.0.0/8 is mapped to nyc",
        "site nyc; the same for all of its /14",
        "their site is nyc",
        "the private pool is the only one",
        "private nyc: 192.0.2.9 is down, weight 100",
        "the next site",
        "private fra: 192.0.2.1 is up, weight 100",
    ];
    for (step, expected) in steps.iter().zip(expected) {
        assert!(step.contains(expected), "{step}: {expected}");
    }
    let (addresses, ..) = answer(&chooser, "10.1.2.3");
    let last = steps.last().unwrap();
    assert!(
        addresses.iter().all(|address| last.contains(address)),
        "{last}: {addresses:?}"
    );
}

#[test]
fn a_policy_follows_its_equal_of_another_configuration_and_nothing_that_is_older() {
    let (chooser, ..) = chooser();
    let (other, sites, _) = self::chooser();
    let mut snapshot = Snapshot::of(sites, other.policies(), View::all_up);
    snapshot.epoch = 2;
    chooser.follow(&snapshot);
    assert_eq!(answer(&chooser, "10.1.2.3").0, ["192.0.2.9"]);
    let mut older = Snapshot::of(snapshot.sites, other.policies(), |_| View::default());
    older.epoch = 1;
    chooser.follow(&older);
    assert_eq!(answer(&chooser, "10.1.2.3").0, ["192.0.2.9"]);
}

#[test]
fn compiled_answers_see_variants_as_data_and_the_scope_of_the_address_as_told() {
    use crate::answer::{Choose, Client, PolicyId};
    let (chooser, sites, _) = chooser();
    follow(&chooser, &sites, &[]);
    let policy = chooser.policy("api").unwrap();
    assert_eq!((policy, chooser.policy("nope")), (PolicyId(0), None));
    let variants = chooser.variants(policy, 1);
    assert_eq!(variants[0], Vec::<Vec<u8>>::new());
    assert!(variants.contains(&vec![vec![192, 0, 2, 9]]));
    assert_eq!(chooser.variants(policy, 28), [Vec::<Vec<u8>>::new()]);
    assert!(chooser.variants(policy, 16).is_empty(), "no text");
    for (told, prefix, scope) in [("10.1.2.0", 24, 14), ("::ffff:10.1.2.0", 120, 96 + 14)] {
        let client = Client {
            address: told.parse().unwrap(),
            prefix,
            told: true,
        };
        let choice = Choose::choose(&chooser, policy, 1, client);
        let variant = choice.variant.unwrap() as usize;
        assert_eq!(variants[variant], [[192, 0, 2, 9]], "{told}");
        assert_eq!(choice.scope, scope, "{told}");
    }
}
