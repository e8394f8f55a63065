//! A client's answer as sites fail, drain and spill.

use super::super::{EndpointView, Family, Status, View, decide};
use super::{Fixture, fixture};

const TWO_POOLS: &str = r#"
[policy.api.private]
endpoints = [
    { site = "fra", address = "192.0.2.1" },
    { site = "fra", address = "2001:db8::1" },
    { site = "nyc", address = "192.0.2.2" },
]
[policy.api.public]
endpoints = [
    { site = "fra", address = "203.0.113.1" },
    { site = "sin", address = "203.0.113.3" },
]
"#;

fn from_fra(fixture: &Fixture, view: &View) -> String {
    fixture.answer("fra", Family::V4, "198.51.100.7", view)
}

#[test]
fn the_nearest_site_answers_and_the_next_one_takes_over() {
    let fixture = fixture(TWO_POOLS);
    assert_eq!(from_fra(&fixture, &fixture.all_up()), "192.0.2.1");
    let failed = fixture.down(&[("192.0.2.1", 5)]);
    assert_eq!(
        from_fra(&fixture, &failed),
        "192.0.2.2",
        "private at the next site before public"
    );
    let failed = fixture.down(&[("192.0.2.1", 5), ("192.0.2.2", 6)]);
    assert_eq!(
        from_fra(&fixture, &failed),
        "203.0.113.1",
        "public, at the nearest site"
    );
    let clients_of_sin = fixture.answer("sin", Family::V4, "198.51.100.7", &fixture.all_up());
    assert_eq!(
        clients_of_sin, "192.0.2.1",
        "no private endpoint there, and the nearest is fra"
    );
}

#[test]
fn each_family_has_its_own_addresses() {
    let fixture = fixture(TWO_POOLS);
    let six = |site, view: &View| fixture.answer(site, Family::V6, "198.51.100.7", view);
    assert_eq!(six("nyc", &fixture.all_up()), "2001:db8::1");
    assert_eq!(
        six("nyc", &fixture.down(&[("192.0.2.1", 5)])),
        "2001:db8::1"
    );
    assert_eq!(
        six("nyc", &fixture.down(&[("2001:db8::1", 5)])),
        "2001:db8::1",
        "the last good"
    );
}

#[test]
fn a_policy_without_addresses_of_a_family_answers_nothing() {
    let fixture =
        fixture("[policy.a.private]\nendpoints = [{ site = \"fra\", address = \"192.0.2.1\" }]\n");
    let view = fixture.all_up();
    assert_eq!(
        fixture.answer("fra", Family::V6, "192.0.2.9", &view),
        "Nothing"
    );
}

#[test]
fn weight_0_drains_an_endpoint_and_a_site() {
    let fixture = fixture(TWO_POOLS);
    let mut view = fixture.all_up();
    view.endpoints[fixture.at("192.0.2.1")].weight = Some(0);
    assert_eq!(from_fra(&fixture, &view), "192.0.2.2");
    let drained_for_good =
        self::fixture(&TWO_POOLS.replace("\"192.0.2.1\"", "\"192.0.2.1\", weight = 0"));
    assert_eq!(
        from_fra(&drained_for_good, &drained_for_good.all_up()),
        "192.0.2.2"
    );
    let mut view = drained_for_good.all_up();
    view.endpoints[drained_for_good.at("192.0.2.1")].weight = Some(5);
    assert_eq!(
        from_fra(&drained_for_good, &view),
        "192.0.2.1",
        "what operators set counts"
    );
}

#[test]
fn nobody_is_sent_to_what_was_not_checked_yet() {
    let fixture = fixture(TWO_POOLS);
    let mut view = fixture.all_up();
    view.endpoints[fixture.at("192.0.2.1")].status = Status::Unknown;
    assert_eq!(from_fra(&fixture, &view), "192.0.2.2");
    assert_eq!(
        from_fra(&fixture, &View::default()),
        "Fail",
        "nothing is known, so nothing was good"
    );
}

#[test]
fn the_last_resort_is_not_for_the_time_before_checks() {
    for word in ["\"all\"", "{ fixed = [\"198.51.100.80\"] }"] {
        let fixture = all_down(word);
        assert_eq!(from_fra(&fixture, &View::default()), "Fail");
        let mut view = View::default();
        view.endpoints.push(EndpointView {
            status: Status::Down,
            ..EndpointView::up()
        });
        assert_ne!(from_fra(&fixture, &view), "Fail", "one is known to be down");
    }
}

#[test]
fn an_explicit_order_is_the_same_for_everybody() {
    let fixture = fixture(&format!(
        "[policy.api]\norder = [\"nyc\", \"fra\"]\n{TWO_POOLS}"
    ));
    for site in ["fra", "nyc", "sin"] {
        let answer = |view: &View| fixture.answer(site, Family::V4, "198.51.100.7", view);
        assert_eq!(answer(&fixture.all_up()), "192.0.2.2");
        assert_eq!(answer(&fixture.down(&[("192.0.2.2", 1)])), "192.0.2.1");
        let neither = fixture.down(&[("192.0.2.2", 1), ("192.0.2.1", 1)]);
        assert_eq!(answer(&neither), "203.0.113.1", "sin is not in the order");
    }
}

#[test]
fn the_spill_moves_all_or_none_at_its_ends() {
    let fixture = fixture(TWO_POOLS);
    let mut view = fixture.all_up();
    view.spill = Some(1.0);
    assert_eq!(from_fra(&fixture, &view), "203.0.113.1");
    view.endpoints[fixture.at("203.0.113.1")].status = Status::Down;
    assert_eq!(from_fra(&fixture, &view), "203.0.113.3");
    view.endpoints[fixture.at("203.0.113.3")].status = Status::Down;
    assert_eq!(
        from_fra(&fixture, &view),
        "192.0.2.1",
        "back to the private pool"
    );
    view.spill = Some(0.0);
    assert_eq!(from_fra(&fixture, &view), "192.0.2.1");
}

fn all_down(word: &str) -> Fixture {
    fixture(&format!(
        r#"
[policy.api.private]
all_down = {word}
endpoints = [
    {{ site = "fra", address = "192.0.2.1" }},
    {{ site = "nyc", address = "192.0.2.2" }},
    {{ site = "sin", address = "192.0.2.3", weight = 0 }},
]
"#
    ))
}

#[test]
fn each_pool_says_what_is_answered_when_all_is_down() {
    let down = |fixture: &Fixture, at: [u64; 2]| {
        fixture.down(&[
            ("192.0.2.1", at[0]),
            ("192.0.2.2", at[1]),
            ("192.0.2.3", 900_000),
        ])
    };
    let all = all_down("\"all\"");
    assert_eq!(
        from_fra(&all, &down(&all, [1, 2])),
        "192.0.2.1",
        "as if all were up"
    );
    let fail = all_down("\"fail\"");
    assert_eq!(from_fra(&fail, &down(&fail, [1, 2])), "Fail");
    let fixed = all_down("{ fixed = [\"198.51.100.80\", \"198.51.100.81\", \"2001:db8::80\"] }");
    assert_eq!(
        from_fra(&fixed, &down(&fixed, [1, 2])),
        "198.51.100.80 198.51.100.81"
    );
    let six = fixed.answer("fra", Family::V6, "192.0.2.9", &down(&fixed, [1, 2]));
    assert_eq!(six, "Nothing", "the pool has none of this family");
    let last = all_down("\"last_good\"");
    let at = |at| {
        from_fra(
            &last,
            &last.down(&[("192.0.2.1", at), ("192.0.2.2", 100_000), ("192.0.2.3", 1)]),
        )
    };
    assert_eq!(at(10_000), "192.0.2.2", "fra was bad long before");
    assert_eq!(
        at(50_000),
        "192.0.2.1",
        "both were good a minute ago: the nearest"
    );
    let mut never = last.down(&[]);
    for one in &mut never.endpoints {
        (one.status, one.down_at) = (Status::Down, None);
    }
    assert_eq!(from_fra(&last, &never), "Fail", "nothing ever was good");
}

#[test]
fn every_step_is_explained() {
    let fixture = fixture(&TWO_POOLS.replace(
        "[policy.api.private]",
        "[policy.api]\nspill = 0.05\n[policy.api.private]",
    ));
    let mut view = fixture.down(&[("192.0.2.1", 5)]);
    view.endpoints[fixture.at("192.0.2.1")].why = Some("status 503".into());
    view.endpoints[fixture.at("192.0.2.2")].weight = Some(0);
    let client = "198.51.100.7".parse().unwrap();
    let site = fixture.site("fra");
    let choice = decide(
        &fixture.policy,
        &fixture.sites,
        site,
        Family::V4,
        client,
        &view,
    );
    assert_eq!(
        choice.steps,
        [
            "policy api: clients in 198.51.100.0/24 are answered the same; their site is fra",
            "spill 5.0%: this prefix stands at 6.9%, the private pool first",
            "private fra: 192.0.2.1 is down (status 503), weight 100",
            "private fra: nothing to answer with, the next site",
            "private nyc: 192.0.2.2 is drained (weight 0)",
            "private nyc: nothing to answer with, the next site",
            "the private pool has nothing to answer with at any site",
            "public fra: 203.0.113.1 is up, weight 100",
            "answer: 203.0.113.1",
        ]
    );
}

#[test]
fn several_addresses_are_each_another_endpoint_and_few_are_all() {
    let endpoints: Vec<String> = (1..=5)
        .map(|host| format!("{{ site = \"fra\", address = \"192.0.2.{host}\", weight = {host} }}"))
        .collect();
    let fixture = fixture(&format!(
        "[policy.api]\nanswers = 3\n[policy.api.private]\nendpoints = [{}]\n",
        endpoints.join(",")
    ));
    let answer = from_fra(&fixture, &fixture.all_up());
    let mut all: Vec<&str> = answer.split(' ').collect();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 3, "{answer}");
    let first = answer.split(' ').next().unwrap();
    let others: Vec<&str> = answer.split(' ').skip(1).collect();
    let after = from_fra(&fixture, &fixture.down(&[(first, 1)]));
    assert!(
        after.starts_with(&others.join(" ")),
        "the others stay: {answer}, {after}"
    );
    let down = [("192.0.2.1", 1), ("192.0.2.2", 1), ("192.0.2.3", 1)];
    assert_eq!(
        from_fra(&fixture, &fixture.down(&down)).split(' ').count(),
        2
    );
}
