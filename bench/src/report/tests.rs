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
