//! What a run found: on the terminal and as JSON, Markdown and SVG.

mod failure;
mod headline;
mod readme;
mod row;
mod summary;
mod svg;
mod table;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::Serialize;

pub(crate) use self::failure::Failure;
pub(crate) use self::readme::Readme;
pub(crate) use self::row::Row;
pub(crate) use self::table::{markdown, terminal, terminal_summary};
use crate::error::Error;
use crate::machine::Machine;

/// A run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// When it began, in UTC.
    pub(crate) date: String,
    /// Where.
    pub(crate) machine: Machine,
    /// What each program says of its version.
    pub(crate) programs: BTreeMap<&'static str, String>,
    /// Peers that were asked for and are not installed, with how to get them.
    pub(crate) missing: BTreeMap<&'static str, &'static str>,
    /// Workers or threads of each proxy.
    pub(crate) workers: usize,
    /// Whether proxy and load had cores of their own.
    pub(crate) pinned: bool,
    /// How long a round took.
    pub(crate) seconds: f64,
    /// How many rounds each peer had.
    pub(crate) rounds: usize,
    /// Connections of the load.
    pub(crate) connections: usize,
    /// What could not be measured, and why.
    pub(crate) failed: Vec<Failure>,
    /// What was measured.
    pub(crate) rows: Vec<Row>,
}

impl Report {
    /// As JSON.
    pub(crate) fn json(&self) -> Result<String, Error> {
        let json = serde_json::to_string_pretty(self);
        json.map_err(|error| Error::Load(error.to_string()))
    }

    /// Writes `report.json`, `report.md` and a plot for each suite into a folder.
    pub(crate) fn write(&self, folder: &Path) -> Result<(), Error> {
        let write = |name: String, text: String| {
            let written = fs::write(folder.join(name), text);
            written.map_err(Error::machine("a file of the report"))
        };
        fs::create_dir_all(folder).map_err(Error::machine("the folder of the report"))?;
        write("report.json".into(), self.json()?)?;
        write("report.md".into(), markdown(self))?;
        for suite in self.suites() {
            let rows: Vec<&Row> = self.rows_of(suite).collect();
            if let Some(plot) = svg::plot(suite, &rows) {
                write(format!("{suite}.svg"), plot)?;
            }
        }
        Ok(())
    }

    /// When, where and how it was measured, in two sentences.
    fn circumstances(&self) -> String {
        let Self {
            date,
            machine,
            workers,
            rounds,
            seconds,
            connections,
            ..
        } = self;
        let memory = machine.memory_bytes >> 30;
        let places = match self.pinned {
            true => "proxy and load on cores of their own",
            false => "proxy and load on the same cores",
        };
        format!(
            "{date}, {} cores of {}, {memory} GiB, Linux {}, load average {:.1} at the start. \
             {workers} worker(s) a proxy, {connections} connections, medians of {rounds} round(s) of \
             {seconds} s each in turn, {places}.",
            machine.cores, machine.processor, machine.kernel, machine.load_average,
        )
    }

    /// The suites that have rows, in their order.
    fn suites(&self) -> Vec<&'static str> {
        let mut suites: Vec<_> = self.rows.iter().map(|row| row.suite).collect();
        suites.dedup();
        suites
    }

    fn rows_of<'a>(&'a self, suite: &'a str) -> impl Iterator<Item = &'a Row> {
        self.rows.iter().filter(move |row| row.suite == suite)
    }
}

#[cfg(test)]
mod tests;
