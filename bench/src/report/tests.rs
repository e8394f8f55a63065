//! Reports of rounds that were made up.

use std::time::Duration;

use super::*;
use crate::load::Sample;
use crate::machine::Memory;
use crate::stage::{Measured, Round};

/// A round of a thousand requests in a second.
fn round(cpu_us: f64) -> Round {
    let mut sample = Sample::new().expect("the bounds are sound");
    for micros in 1..=1000 {
        sample.answered(Duration::from_micros(micros));
    }
    sample.time = Duration::from_secs(1);
    let proxy = cpu_us * 1000.0;
    Round {
        sample,
        proxy,
        load: 2000.0,
        origin: 1000.0,
    }
}

fn rows() -> Vec<Row> {
    let measured = [
        ("tidegate", [8.0, 16.0, 9.0]),
        ("nginx", [10.0, 20.0, 10.0]),
    ];
    let measured = measured.map(|(peer, rounds)| Measured {
        peer,
        rounds: rounds.map(round).into(),
        memory: Memory {
            rss: 3 << 20,
            pss: 2 << 20,
        },
    });
    Row::of_case("plain", "80 B", 1, &measured)
}

fn report() -> Report {
    Report {
        date: "2026-11-25".into(),
        machine: Machine::here(),
        programs: [("nginx", "nginx version: nginx/1.22.1".to_owned())].into(),
        missing: [("caddy", "apt-get install caddy")].into(),
        workers: 1,
        pinned: true,
        seconds: 1.0,
        rounds: 3,
        connections: 64,
        failed: Vec::new(),
        rows: rows(),
    }
}

#[test]
fn a_row_has_medians_of_rounds_and_of_their_ratios() {
    let rows = rows();
    let nginx = &rows[1];
    assert_eq!(nginx.cpu_us_per_request, Some(10.0));
    assert_eq!(nginx.cpu_us_range, Some([10.0, 20.0]));
    assert_eq!(
        (nginx.cpu_ratio, nginx.cpu_ratio_range),
        (Some(0.8), Some([0.8, 0.9]))
    );
    assert_eq!(rows[0].cpu_ratio, Some(1.0));
    assert_eq!(nginx.requests_per_second, Some(1000.0));
    assert_eq!(
        (nginx.busy, nginx.load_us_per_request),
        (Some(0.01), Some(2.0))
    );
    let p99 = nginx.p99_us.expect("there were requests");
    assert!((989.0..992.0).contains(&p99), "{p99}");
}

#[test]
fn the_json_has_the_fields_that_others_read() {
    let json = report().json().expect("it is JSON");
    let json: serde_json::Value = serde_json::from_str(&json).expect("it is JSON");
    assert_eq!(json["rows"][1]["peer"], "nginx");
    assert_eq!(json["rows"][1]["rss_bytes"], 3 << 20);
    assert!(json["rows"][0]["p999_us"].is_f64());
    assert!(json["machine"]["cores"].is_u64());
}

#[test]
fn tables_leave_out_what_nobody_measured() {
    let report = report();
    let rows: Vec<&Row> = report.rows.iter().collect();
    let text = terminal(&rows);
    assert!(text.contains("10.0 (10.0 - 20.0)"), "{text}");
    assert!(text.contains("0.80 (0.80 - 0.90)"), "{text}");
    assert!(!text.contains("KiB/connection"), "{text}");
    let markdown = markdown(&report);
    assert!(markdown.contains("| 80 B | nginx | 10.0 (10.0 - 20.0) | 0.80 (0.80 - 0.90) |"));
    assert!(markdown.contains("caddy was not there: apt-get install caddy"));
}

#[test]
fn the_summary_has_a_line_for_each_case() {
    let mut report = report();
    let mut idle = Row::new("idle", "connections", "haproxy");
    idle.more.insert("memory_ratio", 2.5);
    report.rows.push(idle);
    let lines = summary::summary(&report);
    let goal = "goal, at most";
    assert_eq!(lines[0], ["suite", "case", "of", "nginx", "haproxy", goal]);
    let met = "nginx 0.9: met";
    assert_eq!(lines[1], ["plain", "80 B", "CPU time", "0.80", "-", met]);
    let none = "nginx 2.0: not measured";
    assert_eq!(
        lines[2],
        ["idle", "connections", "memory", "-", "2.50", none]
    );
}

#[test]
fn a_plot_has_a_bar_for_each_row() {
    let report = report();
    let rows: Vec<&Row> = report.rows.iter().collect();
    let plot = svg::plot("plain", &rows).expect("there are figures");
    assert_eq!(plot.matches("fill=\"#0a7d8c\"").count(), 1);
    assert_eq!(plot.matches("fill=\"#b8c4ca\"").count(), 1);
    assert_eq!(svg::plot("plain", &[&Row::default()]), None);
}

/// The cells of a line of the headline table.
fn headline(report: &Report, text: &str) -> Vec<String> {
    let lines = headline::table(&report.rows);
    let line = lines.into_iter().find(|line| line[0].starts_with(text));
    line.expect("there is such a line")
}

#[test]
fn a_headline_says_less_more_and_even_in_the_same_way() {
    let mut report = report();
    let cell = |report: &Report| headline(report, "keep-alive")[3].clone();
    assert_eq!(cell(&report), "0.80 less");
    assert_eq!(headline(&report, "keep-alive")[2], "9.0 us");
    report.rows[1].cpu_ratio = Some(1.3);
    report.rows[1].cpu_ratio_range = Some([1.1, 1.4]);
    assert_eq!(cell(&report), "1.30 more");
    report.rows[1].cpu_ratio_range = Some([0.9, 1.4]);
    assert_eq!(cell(&report), "1.30 even");
}

#[test]
fn a_headline_shows_other_figures_where_the_suite_is_about_them() {
    let mut report = report();
    for (peer, growth, errors) in [("tidegate", 1.04, 0), ("nginx", 1.2, 7)] {
        let mut routes = Row::new("routes", "10000 routes", peer);
        routes.more.insert("to_first_case", growth);
        let reload = Row::new("reload", "1 a second", peer);
        report.rows.extend([routes, Row { errors, ..reload }]);
    }
    let routes = headline(&report, "10,000 routes");
    assert_eq!(routes[2..4], ["1.04", "1.20"]);
    assert_eq!(routes.last().map(String::as_str), Some("itself 1.1: met"));
    let reload = headline(&report, "a reload");
    assert_eq!(reload[1..4], ["errors", "0", "7"]);
}

#[test]
fn policies_are_compared_with_one_kind_of_peer_a_line() {
    let mut report = report();
    let row = |peer, ratio| Row {
        cpu_ratio: Some(ratio),
        ..Row::new("policy", "ES256", peer)
    };
    report
        .rows
        .extend([row("nginx", 1.5), row("nginx-njs", 0.05)]);
    let without = headline(&report, "1,000 routes");
    assert_eq!(without[3..5], ["1.50 more", "–"]);
    assert_eq!(without[without.len() - 1], "nginx 1.2: missed");
    let njs = headline(&report, "the same");
    assert_eq!(njs[3..5], ["–", "0.05 less"]);
    assert_eq!(njs[njs.len() - 1], "nginx-njs 0.1: met");
}

#[test]
fn a_readme_says_what_is_not_in_its_table() {
    let mut report = report();
    report.rows[1].errors = 3;
    let error = Error::Load("the end".into());
    report.failed = vec![Failure::of_peer("h2", "80 B", "nginx", &error)];
    let text = readme::headline(&report);
    assert!(text.starts_with("nginx 1.22.1. 2026-11-25, "), "{text}");
    assert!(
        text.contains("| CPU time | 9.0 us | 0.80 less | – |"),
        "{text}"
    );
    let (_, gaps) = text.rsplit_once("|\n").expect("a table is there");
    assert!(gaps.contains("haproxy; pingora; bodies; post;"), "{gaps}");
    assert!(
        !gaps.contains("plain;") && !gaps.contains("; h2;"),
        "{gaps}"
    );
    assert!(gaps.contains("Not installed: caddy."), "{gaps}");
    assert!(gaps.contains("Failed: nginx in h2, 80 B."), "{gaps}");
    assert!(
        gaps.contains("Requests failed: 3 of nginx in plain, 80 B."),
        "{gaps}"
    );
}

#[test]
fn headlines_are_of_suites_that_there_are() {
    for headline in headline::HEADLINES {
        let mut suites = crate::suite::SUITES.iter();
        assert!(
            suites.any(|suite| suite.name == headline.suite),
            "{headline:?}"
        );
    }
    // The table has columns for proxies alone.
    let of_proxies = crate::goal::GOALS
        .iter()
        .filter(|goal| !["users", "dns", "l4"].contains(&goal.suite));
    for goal in of_proxies {
        let mut headlines = headline::HEADLINES.iter();
        assert!(headlines.any(|line| line.suite == goal.suite), "{goal:?}");
    }
}

#[test]
fn only_what_stands_between_the_marks_is_replaced() {
    let folder = tempfile::TempDir::new().expect("temporary folders can be made");
    let path = folder.path().join("README.md");
    let write = |text: &str| fs::write(&path, text).expect("it can be written");
    write("# A\n<!-- bench:begin -->\nold\n<!-- bench:end -->\n\nB\n");
    for _ in 0..2 {
        let readme = Readme::read(&path).expect("it has marks");
        readme.write(&report()).expect("it can be written");
        let text = fs::read_to_string(&path).expect("it is there");
        assert!(text.starts_with("# A\n<!-- bench:begin -->\n"), "{text}");
        assert!(text.ends_with("\n<!-- bench:end -->\n\nB\n"), "{text}");
        assert!(!text.contains("old"), "{text}");
        assert_eq!(text.matches("keep-alive, 80 B").count(), 1);
    }
}

#[test]
fn a_readme_without_marks_is_an_error_that_names_both() {
    let folder = tempfile::TempDir::new().expect("temporary folders can be made");
    let path = folder.path().join("README.md");
    for text in [
        "",
        "<!-- bench:begin -->",
        "<!-- bench:end --><!-- bench:begin -->",
    ] {
        fs::write(&path, text).expect("it can be written");
        let error = Readme::read(&path)
            .expect_err("marks are missing")
            .to_string();
        for part in ["README.md", "bench:begin", "bench:end"] {
            assert!(error.contains(part), "{error}");
        }
    }
}
