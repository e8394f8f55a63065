//! Tables decide as `decide` does, in every state, and their sets and scopes are right.

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::{EndpointView, Family, Outcome, Status, Tables, View, decide};
use super::fixture;

fn policy() -> impl Strategy<Value = String> {
    let endpoint = (0usize..3, 0u32..4, any::<bool>());
    let word = prop_oneof![
        Just("\"last_good\""),
        Just("\"all\""),
        Just("\"fail\""),
        Just("{ fixed = [\"198.51.100.1\"] }"),
    ];
    let spill = prop_oneof![Just(0.0), Just(0.5), Just(1.0)];
    (
        vec(endpoint.clone(), 1..8),
        vec(endpoint, 0..5),
        word,
        spill,
        1u8..=4,
    )
        .prop_map(|(private, public, word, spill, answers)| {
            let list = |kind: u8, endpoints: Vec<(usize, u32, bool)>| {
                let lines = (1..).zip(endpoints).map(|(host, (site, weight, six))| {
                    let site = ["fra", "nyc", "sin"][site];
                    let address = match six {
                        true => format!("2001:db8:{kind}::{host}"),
                        false => format!("192.0.{kind}.{host}"),
                    };
                    format!("{{ site = \"{site}\", address = \"{address}\", weight = {weight} }}")
                });
                lines.collect::<Vec<_>>().join(",")
            };
            let spill = if public.is_empty() { 0.0 } else { spill };
            let mut text = format!("[policy.a]\nanswers = {answers}\nspill = {spill:?}\n");
            text += &format!(
                "[policy.a.private]\nall_down = {word}\nendpoints = [{}]\n",
                list(1, private)
            );
            if !public.is_empty() {
                text += &format!("[policy.a.public]\nendpoints = [{}]\n", list(2, public));
            }
            text
        })
}

fn endpoint_view() -> impl Strategy<Value = EndpointView> {
    let status = prop_oneof![Just(Status::Up), Just(Status::Down), Just(Status::Unknown)];
    let weight = proptest::option::of(0u32..3);
    let down_at = proptest::option::of(0u64..200_000);
    (status, weight, down_at).prop_map(|(status, weight, down_at)| EndpointView {
        status,
        weight,
        down_at,
        why: None,
    })
}

proptest! {
    #[test]
    fn tables_and_decide_agree(
        text in policy(),
        endpoints in vec(endpoint_view(), 0..14),
        spill in proptest::option::of(prop_oneof![Just(0.0), Just(0.3), Just(1.0)]),
        clients in vec(any::<u32>(), 10),
    ) {
        let fixture = fixture(&text);
        let view = View { endpoints, spill };
        let tables = Tables::new(&fixture.policy, &fixture.sites, &view);
        let written = [Family::V4, Family::V6].map(|family| fixture.policy.variants(family));
        let variants = |family| &written[usize::from(family == Family::V6)];
        for client in clients {
            for (site, _) in fixture.sites.iter() {
                for family in [Family::V4, Family::V6] {
                    let client = std::net::IpAddr::V4(client.into());
                    let choice = decide(&fixture.policy, &fixture.sites, site, family, client, &view);
                    let picked = tables.pick(site, family, client);
                    prop_assert_eq!(picked.outcome(), choice.outcome);
                    prop_assert_eq!(picked.addresses().collect::<Vec<_>>(), choice.addresses.clone());
                    prop_assert_eq!(picked.of(), choice.of);
                    // The answer that was written ahead has the same addresses.
                    let variant = picked.variant().map(|number| &variants(family)[number as usize]);
                    let mut sorted = choice.addresses.clone();
                    sorted.sort_unstable();
                    prop_assert_eq!(variant.is_none(), choice.outcome == Outcome::Fail);
                    prop_assert_eq!(variant.cloned().unwrap_or_default(), sorted);
                    // What is answered is of the family, not drained, and up unless it is the last resort.
                    for address in &choice.addresses {
                        prop_assert!(family.has(*address));
                        if let Some(at) = fixture.policy.endpoint(*address) {
                            let one = view.endpoints.get(at);
                            let weight = one.and_then(|one| one.weight);
                            prop_assert!(weight.unwrap_or(fixture.policy.endpoints[at].weight) > 0);
                            let up = one.is_some_and(|one| one.status == Status::Up);
                            prop_assert!(up || choice.outcome == Outcome::LastResort);
                        }
                    }
                    // Without a prefix in the scope the answer is the same for every client of the site.
                    if picked.by_prefix == 0 {
                        for other in ["10.1.2.3", "203.0.113.200"] {
                            let other = tables.pick(site, family, other.parse().unwrap());
                            prop_assert_eq!(other.addresses().collect::<Vec<_>>(), choice.addresses.clone());
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn the_scope_is_the_prefix_only_where_the_prefix_decides() {
    let one =
        fixture("[policy.a.private]\nendpoints = [{ site = \"fra\", address = \"192.0.2.1\" }]\n");
    let tables = Tables::new(&one.policy, &one.sites, &one.all_up());
    let client = "198.51.100.1".parse().unwrap();
    let picked = tables.pick(one.site("sin"), Family::V4, client);
    assert_eq!((picked.by_prefix, picked.scope(11)), (0, 11));
    let two = fixture(
        "[policy.a.private]\nendpoints = [{ site = \"fra\", address = \"192.0.2.1\" }, \
         { site = \"fra\", address = \"192.0.2.2\" }]\n",
    );
    let tables = Tables::new(&two.policy, &two.sites, &two.all_up());
    let scope = |client: &str, site| {
        tables
            .pick(two.site("sin"), Family::V4, client.parse().unwrap())
            .scope(site)
    };
    assert_eq!(scope("198.51.100.1", 11), 24);
    assert_eq!(scope("198.51.100.1", 27), 27);
    assert_eq!(scope("2001:db8::1", 30), 48);
    assert_eq!(
        tables.groups(),
        2,
        "all sites choose from the same, and there is no IPv6"
    );
}
