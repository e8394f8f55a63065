//! Mistakes in policies name the line and the column.

use super::{SITES, judged};

/// A policy, where it is wrong (line and column), and what is said.
const WRONG: &[(&str, &str, &str)] = &[
    ("[policy.a]", "1:9", "the policy `a` has no endpoint"),
    (
        "[policy.a.private]\nendpoints = []",
        "2:13",
        "the private pool has no endpoint",
    ),
    (
        "[policy.a.private]\nendpoints = [{ site = \"fre\", address = \"192.0.2.1\" }]",
        "2:23",
        "there is no site `fre` (did you mean `fra`?)",
    ),
    (
        "[policy.a.private]\nendpoints = [{ site = \"fra\", address = \"192.0.2.300\" }]",
        "2:40",
        "invalid IP address syntax",
    ),
    (
        "[policy.a.private]\nendpoints = [{ site = \"fra\", address = \"0.0.0.0\" }]",
        "2:40",
        "no client can connect to this address",
    ),
    (
        "[policy.a.private]\nendpoints = [{ site = \"fra\", address = \"192.0.2.1\", weight = 2000000 }]",
        "2:62",
        "a weight is at most 1000000",
    ),
    (
        "[policy.a.private]\nendpoints = [{ site = \"fra\", address = \"192.0.2.1\", probe = \"10.0.0.1:80\" }]",
        "2:61",
        "a `probe` without a `check`",
    ),
    (
        "[policy.a.private]\nendpoints = [{ site = \"fra\", address = \"192.0.2.1\" }, { site = \"nyc\", address = \"192.0.2.1\" }]",
        "2:81",
        "the address 192.0.2.1 is in this policy already",
    ),
    (
        "[policy.a]\nspill = 1.5\n[policy.a.private]\nENDPOINTS",
        "2:9",
        "a share is from 0 to 1",
    ),
    (
        "[policy.a]\nspill = 0.5\n[policy.a.private]\nENDPOINTS",
        "2:9",
        "a spill without a `public` pool",
    ),
    (
        "[policy.a]\nanswers = 9\n[policy.a.private]\nENDPOINTS",
        "2:11",
        "must be from 1 to 8",
    ),
    (
        "[policy.a]\nsticky_v4 = 33\n[policy.a.private]\nENDPOINTS",
        "2:13",
        "must be from 1 to 32",
    ),
    (
        "[policy.a]\nsticky_v6 = 0\n[policy.a.private]\nENDPOINTS",
        "2:13",
        "must be from 1 to 128",
    ),
    (
        "[policy.a]\norder = [\"nyc\"]\n[policy.a.private]\nENDPOINTS",
        "2:10",
        "the policy has no endpoint at `nyc`",
    ),
    (
        "[policy.a.private]\nall_down = \"panic\"\nENDPOINTS",
        "2:12",
        "unknown",
    ),
    (
        "[policy.a.private]\nall_down = { fixed = [] }\nENDPOINTS",
        "3:13",
        "from 1 to 8 different addresses can be `fixed`",
    ),
    (
        "[policy.a.private]\nweight = 1\nENDPOINTS",
        "2:1",
        "unknown key `weight`",
    ),
];

#[test]
fn what_cannot_be_meant_is_refused() {
    let lines_before = SITES.lines().count();
    let one = "endpoints = [{ site = \"fra\", address = \"192.0.2.1\" }]";
    for (text, place, message) in WRONG {
        let text = text.replace("ENDPOINTS", one);
        let report = judged(&format!("{SITES}{text}\n")).unwrap_err();
        let told = report.lines().next().unwrap();
        let (line, column) = place.split_once(':').unwrap();
        let line: usize = line.parse().unwrap();
        let expected = format!("dns.toml:{}:{column}: ", line + lines_before);
        assert!(told.contains(&expected), "{text}: {told}");
        assert!(told.contains(message), "{text}: {told}");
    }
}

#[test]
fn a_crowd_at_one_site_is_refused() {
    let endpoints: Vec<String> = (0..65)
        .map(|host| format!("{{ site = \"fra\", address = \"192.0.2.{host}\" }}"))
        .collect();
    let text = format!(
        "{SITES}[policy.a.private]\nendpoints = [{}]\n",
        endpoints.join(",")
    );
    let report = judged(&text).unwrap_err();
    let told = report.lines().next().unwrap();
    assert!(
        told.contains("at most 64 endpoints of a family in the private pool at fra"),
        "{told}"
    );
}

#[test]
fn more_answers_than_can_be_written_ahead_are_refused() {
    let endpoints: Vec<String> = (1..=20)
        .map(|host| format!("{{ site = \"fra\", address = \"192.0.2.{host}\" }}"))
        .collect();
    let text = |answers: u8| {
        let endpoints = endpoints.join(",");
        format!(
            "{SITES}[policy.a]\nanswers = {answers}\n[policy.a.private]\nendpoints = [{endpoints}]\n"
        )
    };
    let policy = judged(&text(3)).unwrap().policy;
    // None, and every set of one, two and three of twenty.
    assert_eq!(
        policy.variants(super::Family::V4).len(),
        1 + 20 + 190 + 1140
    );
    assert_eq!(policy.variants(super::Family::V6).len(), 1);
    let report = judged(&text(4)).unwrap_err();
    let told = report.lines().next().unwrap();
    assert!(
        told.contains(":15:11: 6196 different answers, and at most 4096 can be"),
        "{told}"
    );
}
