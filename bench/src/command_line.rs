//! The command line, and the run that it asks for.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::error::Error;
use crate::machine::{Machine, Places, pin, raise_open_files};
use crate::origin;
use crate::parts;
use crate::peer::{Bare, Launch, Programs};
use crate::report::{Failure, Readme, Report, Row, terminal, terminal_summary};
use crate::stage::{Context, Options};
use crate::suite::{SUITES, Suite};

/// Tidegate beside other proxies: the same load, in one run.
///
/// Starts an origin and every peer on loopback with configurations of its own, checks that all
/// answer the same and that each is alone on its port, and runs short rounds of load in turn. The main
/// figure is the CPU time that the proxy itself needs for a request, from /proc, and the ratio of
/// Tidegate's to the peer's, taken in each round. Without a suite it lists them.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100, args_conflicts_with_subcommands = true)]
pub(crate) struct CommandLine {
    #[command(flatten)]
    run: Run,
    /// What this process is, when the program has started itself.
    #[command(subcommand)]
    pub(crate) role: Option<Role>,
}

/// Processes of a run that are this program too.
#[derive(Debug, Subcommand)]
pub(crate) enum Role {
    /// The origin.
    #[command(hide = true)]
    Origin(origin::Arguments),
    /// A bare proxy on Pingora.
    #[command(hide = true)]
    Pingora(Bare),
    /// The parts of user services.
    #[command(hide = true)]
    Parts(parts::Arguments),
    /// Another program, on some cores.
    #[command(hide = true)]
    Launch(Launch),
}

#[derive(Debug, Args)]
struct Run {
    /// Suites to run, or `all`
    suites: Vec<String>,
    /// Only cases whose name contains this, such as `100 KB`
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    case: String,
    /// Peers beside Tidegate, where they are proxies
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "nginx,nginx-njs,haproxy,caddy,pingora"
    )]
    peers: Vec<String>,
    /// Length of a round
    #[arg(long, value_name = "S", default_value_t = 2.0)]
    seconds: f64,
    /// Rounds of each peer
    #[arg(long, value_name = "N", default_value_t = 5)]
    rounds: usize,
    /// Workers or threads of each proxy
    #[arg(long, value_name = "N", default_value_t = 1)]
    workers: usize,
    /// Connections of the load
    #[arg(long, value_name = "N", default_value_t = 64)]
    connections: usize,
    /// Connections that `idle` holds
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    idle_connections: usize,
    /// Lets proxy and load share all cores; otherwise each has its own, when there are enough
    #[arg(long)]
    no_pin: bool,
    /// Writes the rows here as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Writes report.json, report.md and SVG plots here
    #[arg(long, value_name = "FOLDER")]
    report: Option<PathBuf>,
    /// Writes the headline table into this file, between its marks
    #[arg(long, value_name = "FILE")]
    readme: Option<PathBuf>,
    /// The binary under test; beside this program when it is not said
    #[arg(long, value_name = "PATH", env = "TIDEGATE_BIN")]
    tidegate: Option<PathBuf>,
}

impl CommandLine {
    /// Runs the suites, or lists them.
    pub(crate) fn run(&self) -> Result<(), Error> {
        if self.run.suites.is_empty() {
            list();
            return Ok(());
        }
        let suites = self.run.suites()?;
        let readme = self.run.readme.as_deref();
        readme.map(Readme::read).transpose()?; // better now than after all suites
        let context = self.run.context()?;
        let mut report = self.run.empty_report(&context);
        for (name, install) in &report.missing {
            eprintln!("{name} is not installed: {install}");
        }
        pin(&context.places.load);
        for suite in suites {
            println!("\n{}: {}", suite.name, suite.shows);
            let rows = (suite.run)(&context).unwrap_or_else(|error| {
                context.failed(Failure::of_suite(suite.name, &error));
                Vec::new()
            });
            match rows.is_empty() {
                true => println!("nothing was measured"),
                false => print!("{}", terminal(&rows.iter().collect::<Vec<&Row>>())),
            }
            report.rows.extend(rows);
            report.failed.append(&mut context.failures.borrow_mut());
            self.run.write(&report)?; // a run that is cut off leaves what it had
        }
        println!(
            "\nTidegate's over the peer's:\n{}",
            terminal_summary(&report)
        );
        if let Some(path) = readme {
            Readme::read(path)?.write(&report)?; // anew: people may have written meanwhile
        }
        match report.failed[..] {
            [] => Ok(()),
            _ => Err(Error::Incomplete(report.failed)),
        }
    }
}

impl Run {
    fn suites(&self) -> Result<Vec<&'static Suite>, Error> {
        if self.suites.iter().any(|name| name == "all") {
            return Ok(SUITES.iter().collect());
        }
        let find = |name: &String| {
            let suite = SUITES.iter().find(|suite| suite.name == name);
            suite.ok_or_else(|| {
                Error::Usage(format!(
                    "there is no suite `{name}`; without arguments they are listed"
                ))
            })
        };
        self.suites.iter().map(find).collect()
    }

    fn context(&self) -> Result<Context, Error> {
        let time = Duration::try_from_secs_f64(self.seconds)
            .ok()
            .filter(|time| !time.is_zero());
        let time = time.ok_or_else(|| Error::Usage("--seconds must be more than 0".into()))?;
        let counts = [self.rounds, self.workers, self.connections];
        if counts.contains(&0) {
            return Err(Error::Usage(
                "--rounds, --workers and --connections begin at 1".into(),
            ));
        }
        let tidegate = self.tidegate.clone().unwrap_or_else(beside_this_program);
        let tidegate = tidegate
            .canonicalize()
            .map_err(|_| Error::NoTidegate(tidegate))?;
        let programs = Programs::find(&self.peers, tidegate)?;
        let places = Places::choose(self.workers, !self.no_pin);
        let options = Options {
            time,
            rounds: self.rounds,
            workers: self.workers,
            connections: self.connections,
            case: self.case.clone(),
            idle_connections: self.idle_connections,
        };
        raise_open_files();
        Context::new(options, programs, places)
    }

    fn empty_report(&self, context: &Context) -> Report {
        let missing = context
            .programs
            .missing
            .iter()
            .map(|peer| (peer.name, peer.install));
        Report {
            date: jiff::Timestamp::now().strftime("%F %R UTC").to_string(),
            machine: Machine::here(),
            programs: context.programs.versions(),
            missing: missing.collect(),
            workers: self.workers,
            pinned: !context.places.proxy.is_empty(),
            seconds: self.seconds,
            rounds: self.rounds,
            connections: self.connections,
            failed: Vec::new(),
            rows: Vec::new(),
        }
    }

    fn write(&self, report: &Report) -> Result<(), Error> {
        if let Some(file) = &self.json {
            let written = std::fs::write(file, report.json()?);
            written.map_err(Error::machine("the JSON file"))?;
        }
        if let Some(folder) = &self.report {
            report.write(folder)?;
        }
        Ok(())
    }
}

fn list() {
    println!("Suites of tidegate-bench; --help says more.\n");
    for suite in SUITES {
        println!("  {:<10} {}", suite.name, suite.shows);
    }
    println!("  {:<10} all of them", "all");
}

fn beside_this_program() -> PathBuf {
    let this = std::env::current_exe().unwrap_or_default();
    this.with_file_name("tidegate")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(args: &[&str]) -> Run {
        let all = ["tidegate-bench"].into_iter().chain(args.iter().copied());
        CommandLine::try_parse_from(all)
            .expect("it is understood")
            .run
    }

    #[test]
    fn an_unknown_suite_is_an_error() {
        let error = run(&["plain", "plane"])
            .suites()
            .expect_err("there is none");
        assert!(error.to_string().contains("plane"), "{error}");
    }

    #[test]
    fn all_means_each_suite_once() {
        let suites = run(&["all", "plain"]).suites().expect("it is known");
        assert_eq!(suites.len(), SUITES.len());
    }

    #[test]
    fn a_missing_binary_is_named() {
        let error = run(&["plain", "--tidegate", "/nowhere/tidegate"]).context();
        let error = error.expect_err("there is none").to_string();
        assert!(
            error.contains("/nowhere/tidegate") && error.contains("cargo build"),
            "{error}"
        );
    }
}
