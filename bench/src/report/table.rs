//! Tables: on the terminal with columns, in files as Markdown.

use std::fmt::Write;

use super::summary::summary;
use super::{Report, Row, svg};
use crate::peer::OURS;

/// A column: its heading, and a row's cell; `None` when the row has none.
type Column = (&'static str, fn(&Row) -> Option<String>);

/// Columns that no row of a suite fills are left out.
const COLUMNS: &[Column] = &[
    ("case", |row| Some(row.case.clone())),
    ("peer", |row| Some(row.peer.to_owned())),
    ("CPU us/request (min - max)", |row| {
        ranged(row.cpu_us_per_request?, row.cpu_us_range?, 1)
    }),
    ("Tidegate / peer (min - max)", |row| {
        if row.peer == OURS {
            return None;
        }
        ranged(row.cpu_ratio?, row.cpu_ratio_range?, 2)
    }),
    ("requests/s", |row| {
        Some(format!("{:.0}", row.requests_per_second?))
    }),
    ("p50 us", |row| Some(format!("{:.0}", row.p50_us?))),
    ("p99 us", |row| Some(format!("{:.0}", row.p99_us?))),
    ("p99.9 us", |row| Some(format!("{:.0}", row.p999_us?))),
    ("RSS MiB", |row| {
        Some(format!("{:.1}", row.rss_bytes? as f64 / 1048576.0))
    }),
    ("errors", |row| {
        (row.errors > 0).then(|| row.errors.to_string())
    }),
    ("busy", |row| Some(format!("{:.0} %", row.busy? * 100.0))),
    ("load us", |row| {
        Some(format!("{:.1}", row.load_us_per_request?))
    }),
    ("resumed", |row| percent(row, "resumed_share")),
    ("rate", |row| Some(format!("{:.0}", row.more.get("rate")?))),
    ("reloads", |row| {
        Some(format!("{:.0}", row.more.get("reloads")?))
    }),
    ("to first case", |row| {
        Some(format!("{:.2}", row.more.get("to_first_case")?))
    }),
    ("held", |row| {
        Some(format!("{:.0}", row.more.get("connections")?))
    }),
    ("KiB/connection", |row| kib(row, "bytes_per_connection")),
    ("growth KiB", |row| kib(row, "growth_per_connection")),
    ("memory: Tidegate / peer", |row| {
        let ratio = row.more.get("memory_ratio").filter(|_| row.peer != OURS)?;
        Some(format!("{ratio:.2}"))
    }),
];

/// Columns that Markdown leaves to the JSON file.
const ONLY_ON_TERMINALS: &[&str] = &["busy", "load us"];

fn ranged(median: f64, [min, max]: [f64; 2], digits: usize) -> Option<String> {
    Some(format!(
        "{median:.digits$} ({min:.digits$} - {max:.digits$})"
    ))
}

fn percent(row: &Row, name: &str) -> Option<String> {
    Some(format!("{:.0} %", row.more.get(name)? * 100.0))
}

fn kib(row: &Row, name: &str) -> Option<String> {
    Some(format!("{:.2}", row.more.get(name)? / 1024.0))
}

/// Headings and cells of a suite.
fn cells(rows: &[&Row], wanted: impl Fn(&str) -> bool) -> Vec<Vec<String>> {
    let filled =
        |column: &&Column| wanted(column.0) && rows.iter().any(|row| column.1(row).is_some());
    let columns: Vec<&Column> = COLUMNS.iter().filter(filled).collect();
    let headings = columns.iter().map(|column| column.0.to_owned()).collect();
    let cells = |row: &&Row| {
        columns
            .iter()
            .map(|column| column.1(row).unwrap_or_default())
            .collect()
    };
    [headings]
        .into_iter()
        .chain(rows.iter().map(cells))
        .collect()
}

/// The table of a suite for a terminal.
pub(crate) fn terminal(rows: &[&Row]) -> String {
    aligned(&cells(rows, |_| true))
}

/// The summary for a terminal: Tidegate's figures over the peers'.
pub(crate) fn terminal_summary(report: &Report) -> String {
    aligned(&summary(report))
}

fn aligned(lines: &[Vec<String>]) -> String {
    let width = |at: usize| {
        lines
            .iter()
            .map(|line| line[at].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..lines[0].len()).map(width).collect();
    let mut text = String::new();
    for line in lines {
        for (at, (cell, width)) in line.iter().zip(&widths).enumerate() {
            let _ = match at < 2 {
                true => write!(text, "{cell:<width$}  "),
                false => write!(text, "{cell:>width$}  "),
            }; // text takes everything
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

/// The whole report as Markdown.
pub(crate) fn markdown(report: &Report) -> String {
    let mut text = format!(
        "# Benchmarks\n\n{} A ratio below 1 means that Tidegate needs less than the peer.\n",
        report.circumstances()
    );
    text += "\n## Summary: Tidegate's over the peer's\n\n";
    text += &markdown_table(&summary(report));
    for suite in report.suites() {
        let rows: Vec<&Row> = report.rows_of(suite).collect();
        let _ = write!(text, "\n## {suite}\n\n"); // text takes everything
        if svg::plot(suite, &rows).is_some() {
            let _ = write!(text, "![{suite}]({suite}.svg)\n\n");
        }
        let wanted = |name: &str| !ONLY_ON_TERMINALS.contains(&name);
        text += &markdown_table(&cells(&rows, wanted));
    }
    text += "\n## Programs\n\n";
    for (name, version) in &report.programs {
        let _ = writeln!(text, "- {name}: {version}");
    }
    for (name, install) in &report.missing {
        let _ = writeln!(text, "- {name} was not there: {install}");
    }
    for failure in &report.failed {
        let _ = writeln!(
            text,
            "- not measured: {}: {}",
            failure.what(),
            failure.reason()
        );
    }
    text
}

pub(super) fn markdown_table(lines: &[Vec<String>]) -> String {
    let mut text = String::new();
    for (at, line) in lines.iter().enumerate() {
        let _ = writeln!(text, "| {} |", line.join(" | ")); // text takes everything
        if at == 0 {
            let _ = writeln!(text, "|{}", "-|".repeat(line.len()));
        }
    }
    text
}
