//! How 100,000 client prefixes are distributed, judged by chi-square, and who moves when something changes.

use std::collections::BTreeMap;
use std::net::IpAddr;

use statrs::distribution::{ChiSquared, ContinuousCDF};

use super::super::{Family, Tables, View};
use super::{Fixture, clients, fixture};

/// The clients are always the same, so that a test of these either always fails or never does.
const LEAST_P: f64 = 0.001;

fn assert_fits(counts: &BTreeMap<String, f64>, shares: &[(&str, f64)]) {
    let total: f64 = counts.values().sum();
    let whole: f64 = shares.iter().map(|(_, share)| share).sum();
    let mut statistic = 0.0;
    for (name, share) in shares {
        let expected = total * share / whole;
        let found = counts.get(*name).copied().unwrap_or(0.0);
        statistic += (found - expected).powi(2) / expected;
    }
    assert_eq!(counts.len(), shares.len(), "{counts:?}");
    let freedom = ChiSquared::new((shares.len() - 1) as f64).unwrap();
    let p = freedom.sf(statistic);
    assert!(p > LEAST_P, "p {p}, chi-square {statistic}: {counts:?}");
}

fn first_choice(tables: &Tables, fixture: &Fixture, client: IpAddr) -> IpAddr {
    let picked = tables.pick(fixture.site("fra"), Family::V4, client);
    picked.addresses().next().unwrap()
}

fn choices(fixture: &Fixture, view: &View) -> Vec<IpAddr> {
    let tables = Tables::new(&fixture.policy, &fixture.sites, view);
    clients()
        .map(|client| first_choice(&tables, fixture, client))
        .collect()
}

fn counted(choices: &[IpAddr]) -> BTreeMap<String, f64> {
    let mut counts = BTreeMap::new();
    for choice in choices {
        *counts.entry(choice.to_string()).or_insert(0.0) += 1.0;
    }
    counts
}

fn one_site(weights: &[u32]) -> Fixture {
    let endpoints: Vec<String> = (1..)
        .zip(weights)
        .map(|(host, weight)| {
            format!("{{ site = \"fra\", address = \"192.0.2.{host}\", weight = {weight} }}")
        })
        .collect();
    fixture(&format!(
        "[policy.api.private]\nendpoints = [{}]\n",
        endpoints.join(", ")
    ))
}

#[test]
fn equal_weights_share_equally() {
    let fixture = one_site(&[100; 6]);
    let names: Vec<String> = (1..=6).map(|host| format!("192.0.2.{host}")).collect();
    let shares: Vec<(&str, f64)> = names.iter().map(|name| (name.as_str(), 1.0)).collect();
    assert_fits(&counted(&choices(&fixture, &fixture.all_up())), &shares);
}

#[test]
fn shares_follow_weights() {
    let fixture = one_site(&[1, 2, 3, 10, 1000]);
    assert_fits(
        &counted(&choices(&fixture, &fixture.all_up())),
        &[
            ("192.0.2.1", 1.0),
            ("192.0.2.2", 2.0),
            ("192.0.2.3", 3.0),
            ("192.0.2.4", 10.0),
            ("192.0.2.5", 1000.0),
        ],
    );
}

#[test]
fn shares_of_ipv6_clients_follow_weights_too() {
    let fixture = one_site(&[1, 3]);
    let tables = Tables::new(&fixture.policy, &fixture.sites, &fixture.all_up());
    let clients =
        (0..100_000u128).map(|at| IpAddr::V6(((0x2001_0db8 << 96) + (at << 80) + 9).into()));
    let choices: Vec<IpAddr> = clients
        .map(|client| first_choice(&tables, &fixture, client))
        .collect();
    assert_fits(
        &counted(&choices),
        &[("192.0.2.1", 1.0), ("192.0.2.2", 3.0)],
    );
}

const SPILLING: &str = r#"
[policy.api]
spill = 0.3
[policy.api.private]
endpoints = [
    { site = "fra", address = "192.0.2.1", weight = 1 },
    { site = "fra", address = "192.0.2.2", weight = 3 },
]
[policy.api.public]
endpoints = [
    { site = "fra", address = "203.0.113.1", weight = 2 },
    { site = "fra", address = "203.0.113.2", weight = 1 },
]
"#;

#[test]
fn shares_follow_weights_times_spill() {
    let fixture = fixture(SPILLING);
    assert_fits(
        &counted(&choices(&fixture, &fixture.all_up())),
        &[
            ("192.0.2.1", 0.7 * 0.25),
            ("192.0.2.2", 0.7 * 0.75),
            ("203.0.113.1", 0.2),
            ("203.0.113.2", 0.1),
        ],
    );
}

#[test]
fn more_spill_moves_only_the_difference_and_only_to_the_public_pool() {
    let fixture = fixture(SPILLING);
    let before = choices(&fixture, &fixture.all_up());
    let mut view = fixture.all_up();
    view.spill = Some(0.4);
    let after = choices(&fixture, &view);
    let moved: Vec<_> = before.iter().zip(&after).filter(|(a, b)| a != b).collect();
    let public = |address: &IpAddr| address.to_string().starts_with("203");
    assert!(moved.iter().all(|(from, to)| !public(from) && public(to)));
    // 10% of all, within five standard deviations of a binomial (95).
    assert!(moved.len().abs_diff(10_000) < 475, "{}", moved.len());
}

#[test]
fn a_weight_that_grows_takes_only_its_share() {
    let fixture = one_site(&[100, 100, 100]);
    let before = choices(&fixture, &fixture.all_up());
    let mut view = fixture.all_up();
    let grown = fixture.at("192.0.2.2");
    view.endpoints[grown].weight = Some(150);
    let after = choices(&fixture, &view);
    let to: IpAddr = "192.0.2.2".parse().unwrap();
    let moved: Vec<_> = before.iter().zip(&after).filter(|(a, b)| a != b).collect();
    assert!(
        moved.iter().all(|(_, b)| **b == to),
        "others did not move among themselves"
    );
    // From 1/3 to 150/350: 9.52% of all.
    let expected = 100_000.0 * (150.0 / 350.0 - 1.0 / 3.0);
    assert!(
        (moved.len() as f64 - expected).abs() < 475.0,
        "{}",
        moved.len()
    );
    view.endpoints[grown].weight = None;
    assert_eq!(choices(&fixture, &view), before, "and gives them back");
}

#[test]
fn an_endpoint_that_leaves_moves_only_its_own_clients_and_evenly() {
    let fixture = one_site(&[1, 2, 3, 4]);
    let before = choices(&fixture, &fixture.all_up());
    let after = choices(&fixture, &fixture.down(&[("192.0.2.3", 1)]));
    let gone: IpAddr = "192.0.2.3".parse().unwrap();
    let mut heirs = Vec::new();
    for (a, b) in before.iter().zip(&after) {
        match *a == gone {
            true => heirs.push(*b),
            false => assert_eq!(a, b, "it was not concerned"),
        }
    }
    let shares = [("192.0.2.1", 1.0), ("192.0.2.2", 2.0), ("192.0.2.4", 4.0)];
    assert_fits(&counted(&heirs), &shares);
    assert_eq!(
        choices(&fixture, &fixture.all_up()),
        before,
        "they return to it"
    );
}

#[test]
fn the_order_of_configuration_and_other_endpoints_change_nothing() {
    let lines = [
        "{ site = \"fra\", address = \"192.0.2.1\", weight = 5 }",
        "{ site = \"fra\", address = \"192.0.2.2\", weight = 7 }",
        "{ site = \"fra\", address = \"192.0.2.3\", weight = 9 }",
    ];
    let of = |name: &str, lines: Vec<&str>| {
        let fixture = fixture(&format!(
            "[policy.{name}.private]\nendpoints = [{}]\n",
            lines.join(", ")
        ));
        choices(&fixture, &fixture.all_up())
    };
    let one = of("api", lines.to_vec());
    assert_eq!(of("api", lines.iter().rev().copied().collect()), one);
    assert_eq!(
        of("www", lines.to_vec()),
        one,
        "a client is at one place under every name"
    );
    let elsewhere = [&lines[..], &["{ site = \"nyc\", address = \"192.0.2.9\" }"]].concat();
    assert_eq!(of("api", elsewhere), one);
}

#[test]
fn clients_of_one_prefix_are_answered_the_same() {
    let fixture = one_site(&[1, 2, 3]);
    let tables = Tables::new(&fixture.policy, &fixture.sites, &fixture.all_up());
    let choice = |client: &str| first_choice(&tables, &fixture, client.parse().unwrap());
    for at in 0..=255 {
        assert_eq!(choice(&format!("198.51.100.{at}")), choice("198.51.100.0"));
        assert_eq!(
            choice(&format!("2001:db8:5:{at:x}::{at:x}")),
            choice("2001:db8:5::")
        );
    }
}

#[test]
fn all_first_choices_of_several_answers_follow_weights() {
    let text = SPILLING.replace("spill = 0.3", "answers = 2");
    let fixture = fixture(&text.replace(
        "[policy.api.public]",
        "[policy.api.public]\nall_down = \"all\"",
    ));
    let shares = [("192.0.2.1", 1.0), ("192.0.2.2", 3.0)];
    assert_fits(&counted(&choices(&fixture, &fixture.all_up())), &shares);
}
