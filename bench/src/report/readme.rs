//! The headline table in a file that people write otherwise, such as a README: only what stands between
//! two marks is replaced.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::Report;
use super::headline::{HEADLINES, NOTHING, Shown, table};
use super::table::markdown_table;
use crate::error::Error;
use crate::peer::PEERS;

const BEGIN: &str = "<!-- bench:begin -->";
const END: &str = "<!-- bench:end -->";

/// A file with both marks.
#[derive(Debug)]
pub(crate) struct Readme {
    path: PathBuf,
    before: String,
    after: String,
}

impl Readme {
    /// Reads it; an error when it has no marks.
    pub(crate) fn read(path: &Path) -> Result<Self, Error> {
        let text = fs::read_to_string(path);
        let text = text.map_err(Error::machine("the file for the headline table"))?;
        let missing = || {
            Error::Usage(format!(
                "{} has no `{BEGIN}` with `{END}` after it; the headline table goes between them",
                path.display()
            ))
        };
        let (before, rest) = text.split_once(BEGIN).ok_or_else(missing)?;
        let (_, after) = rest.split_once(END).ok_or_else(missing)?;
        Ok(Self {
            path: path.to_owned(),
            before: before.to_owned(),
            after: after.to_owned(),
        })
    }

    /// Writes it with this run's table.
    pub(crate) fn write(&self, report: &Report) -> Result<(), Error> {
        let Self {
            path,
            before,
            after,
        } = self;
        let text = format!("{before}{BEGIN}\n{}{END}{after}", headline(report));
        fs::write(path, text).map_err(Error::machine("the file for the headline table"))
    }
}

/// Under which circumstances, how to read it, the table, and what is not in it.
pub(super) fn headline(report: &Report) -> String {
    let programs = report.programs.iter();
    let programs = programs.map(|(name, said)| format!("{name} {}", version(said)));
    format!(
        "{}. {}\n\nTidegate's own figure, then Tidegate's over each peer's: below 1 Tidegate needs less, above 1 more; even \
         when rounds lie on both sides of 1. Where a line says \"each its own\", every program has its own figure.\n\n\
         {}\n{}\n",
        programs.collect::<Vec<_>>().join(", "),
        report.circumstances(),
        markdown_table(&table(&report.rows)),
        gaps(report),
    )
}

/// What is not in the table, and whose requests failed.
fn gaps(report: &Report) -> String {
    let absent = |peer: &str| !report.programs.contains_key(peer);
    let mut not_run: Vec<&str> = PEERS.iter().map(|peer| peer.name).collect();
    not_run.retain(|peer| absent(peer) && !report.missing.contains_key(peer));
    not_run.extend(HEADLINES.iter().filter_map(|line| {
        let is_run = line.rows(&report.rows).next().is_some();
        let failed = report
            .failed
            .iter()
            .any(|failure| failure.suite == line.suite);
        (!is_run && !failed).then_some(line.suite)
    }));
    not_run.dedup();
    let failed = report.failed.iter().map(|failure| failure.what());
    let not_run = not_run.into_iter().map(str::to_owned);
    let missing = report.missing.keys().map(ToString::to_string);
    let mut text = format!("{NOTHING}: not measured, or not what the program can do.");
    for (what, list) in [
        ("Not in this run", not_run.collect()),
        ("Not installed", missing.collect()),
        ("Failed", failed.collect()),
        ("Requests failed", requests_failed(report)),
    ] {
        let list: Vec<String> = list;
        if !list.is_empty() {
            text += &format!(" {what}: {}.", list.join("; "));
        }
    }
    text
}

fn requests_failed(report: &Report) -> Vec<String> {
    let lines = HEADLINES.iter().filter(|line| line.shown != Shown::Errors);
    let rows = lines.flat_map(|line| line.rows(&report.rows));
    let failed = rows.filter(|row| row.errors > 0).map(|row| {
        let (suite, case, peer, errors) = (row.suite, &row.case, row.peer, row.errors);
        format!("{errors} of {peer} in {suite}, {case}")
    });
    let failed: BTreeSet<String> = failed.collect(); // two lines may be of one case
    failed.into_iter().collect()
}

/// The number in what a program says of its version; all of it when there is none.
fn version(said: &str) -> &str {
    let mut words = said
        .split([' ', '/', ','])
        .map(|word| word.trim_start_matches('v'));
    let number = words
        .find(|word| word.starts_with(|first: char| first.is_ascii_digit()) && word.contains('.'));
    number.unwrap_or(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_short() {
        for (said, wanted) in [
            ("nginx version: nginx/1.22.1", "1.22.1"),
            (
                "HAProxy version 2.6.12-1+deb12u4 2026/10/17 - https://haproxy.org/",
                "2.6.12-1+deb12u4",
            ),
            ("v2.6.2 h1:abc=", "2.6.2"),
            ("pingora-proxy 0.9.1, bare `ProxyHttp`", "0.9.1"),
            ("unknown", "unknown"),
        ] {
            assert_eq!(version(said), wanted);
        }
    }
}
