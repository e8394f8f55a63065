//! The summary: a line for each case, a column for each peer, and in it how Tidegate compares.

use super::{Report, Row};
use crate::peer::OURS;

/// Ratios that stand for a case in place of that of CPU time, with what they compare.
const OTHERS: [(&str, &str); 2] = [("memory_ratio", "memory"), ("p999_ratio", "p99.9")];

/// What a row's ratio compares, and the ratio.
fn ratio(row: &Row) -> Option<(&'static str, f64)> {
    let other = |(name, what): (&str, &'static str)| Some((what, *row.more.get(name)?));
    let other = OTHERS.into_iter().find_map(other);
    other.or_else(|| Some(("CPU time", row.cpu_ratio?)))
}

/// Headings and cells of the summary.
pub(super) fn summary(report: &Report) -> Vec<Vec<String>> {
    let rows = &report.rows;
    let mut peers: Vec<&str> = Vec::new();
    let mut cases: Vec<(&str, &str)> = Vec::new();
    for row in rows.iter().filter(|row| row.peer != OURS) {
        if !peers.contains(&row.peer) {
            peers.push(row.peer);
        }
        if !cases.contains(&(row.suite, &row.case)) {
            cases.push((row.suite, &row.case));
        }
    }
    let headings = ["suite", "case", "of"]
        .into_iter()
        .chain(peers.iter().copied());
    let line = |(suite, case): &(&str, &str)| {
        let of_case: Vec<&Row> = rows
            .iter()
            .filter(|row| row.suite == *suite && row.case == *case)
            .collect();
        let what = of_case
            .iter()
            .find_map(|row| ratio(row))
            .map_or("", |(what, _)| what);
        let cells = peers.iter().map(|peer| {
            let row = of_case.iter().find(|row| row.peer == *peer);
            let ratio = row.and_then(|row| ratio(row));
            ratio.map_or("-".to_owned(), |(_, ratio)| format!("{ratio:.2}"))
        });
        let start = [*suite, case, what].map(str::to_owned);
        start.into_iter().chain(cells).collect()
    };
    let headings = headings.map(str::to_owned).collect();
    [headings]
        .into_iter()
        .chain(cases.iter().map(line))
        .collect()
}
