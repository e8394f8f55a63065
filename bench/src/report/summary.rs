//! The summary: a line for each case, a column for each peer, and in it how Tidegate compares; at the end
//! what was to be reached.

use super::{Report, Row};
use crate::goal::goals_of;
use crate::peer::OURS;

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
        .chain(peers.iter().copied())
        .chain(["goal, at most"]);
    let line = |(suite, case): &(&str, &str)| {
        let of_case: Vec<&Row> = rows
            .iter()
            .filter(|row| row.suite == *suite && row.case == *case)
            .collect();
        let what = of_case
            .iter()
            .find_map(|row| row.compared())
            .map_or("", |(what, _)| what);
        let cells = peers.iter().map(|peer| {
            let row = of_case.iter().find(|row| row.peer == *peer);
            let ratio = row.and_then(|row| row.compared());
            ratio.map_or("-".to_owned(), |(_, ratio)| format!("{ratio:.2}"))
        });
        let goals = goals_of(suite, case).map(|goal| goal.judged(rows));
        let goals: Vec<String> = goals.collect();
        let start = [*suite, case, what].map(str::to_owned);
        start
            .into_iter()
            .chain(cells)
            .chain([goals.join("; ")])
            .collect()
    };
    let headings = headings.map(str::to_owned).collect();
    [headings]
        .into_iter()
        .chain(cases.iter().map(line))
        .collect()
}
