//! Authoritative DNS over UDP, beside NSD, Knot and gdnsd with the same names and answers.
//!
//! The load is dnsperf, on the cores of the load: so many clients, each with queries under way at all times. What it
//! tells is how many were answered, and the latency on average; percentiles it does not know.

mod query;
mod sign;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use self::query::{Asked, queries};
use super::Suite;
use super::routes::compare_with_first_case;
use crate::error::Error;
use crate::load::Sample;
use crate::machine::pin;
use crate::peer::{DNS_NETWORKS, DNS_SERVERS, Dns, DnsAnswers, Running, Setup};
use crate::report::Row;
use crate::stage::{Context, Stage, rounds_in_turn};

pub(super) const SUITE: Suite = Suite {
    name: "dns",
    shows: "authoritative DNS over UDP, beside NSD, Knot and gdnsd",
    run,
};

struct Case {
    name: &'static str,
    names: usize,
    asked: Asked,
    /// Whether servers have all cores, and a thread for each.
    all_cores: bool,
}

/// They run at the same time and take turns: it is what they need beside each other that counts.
const BY_SIZE: [Case; 2] = [
    case("10,000 names", 10_000, Asked::Plain { missing: 0 }),
    case("100,000 names", 100_000, Asked::Plain { missing: 0 }),
];

/// One after the other.
const BY_KIND: [Case; 4] = [
    case("9 % not there", 10_000, Asked::Plain { missing: 11 }),
    case("geo by ECS", 100, Asked::FromNetworks),
    case("signed", 10_000, Asked::ForSignatures),
    Case {
        all_cores: true,
        ..case("all cores", 10_000, Asked::Plain { missing: 0 })
    },
];

const fn case(name: &'static str, names: usize, asked: Asked) -> Case {
    Case {
        name,
        names,
        asked,
        all_cores: false,
    }
}

fn run(context: &Context) -> Result<Vec<Row>, Error> {
    let wanted = |case: &&Case| case.name.contains(&context.options.case);
    let by_size: Vec<&Case> = BY_SIZE.iter().filter(wanted).collect();
    let by_kind: Vec<&Case> = BY_KIND.iter().filter(wanted).collect();
    let together = (!by_size.is_empty()).then_some(by_size);
    let alone = by_kind.into_iter().map(|case| vec![case]);
    let rows = together
        .into_iter()
        .chain(alone)
        .flat_map(|cases| context.found(SUITE.name, cases[0].name, measure(context, &cases)))
        .collect();
    // Where a case with all cores was the last.
    pin(&context.places.load);
    Ok(rows)
}

/// Measures cases that take turns.
fn measure(context: &Context, cases: &[&Case]) -> Result<Vec<Row>, Error> {
    let mut stages = Vec::new();
    let mut loads = Vec::new();
    for case in cases {
        let setup = case.setup(context)?;
        let mut stage =
            Stage::start_before_nothing(DNS_SERVERS, context, SUITE.name, case.name, &setup)?;
        stage.each(|running| query::check(running, case.asked))?;
        stages.push(stage);
        let name = format!("queries-{}", case.name);
        loads.push(context.file(&name, queries(case.asked, case.names, DNS_NETWORKS))?);
    }
    let measured = rounds_in_turn(&mut stages, |number, running, time| {
        drive(running, time, &loads[number], &cases[number].cores(context))
    })?;
    let mut rows = Vec::new();
    for (case, of_case) in cases.iter().zip(&measured) {
        let mut of_case_rows = Row::of_case(SUITE.name, case.name, case.workers(context), of_case);
        if cases.len() > 1 {
            compare_with_first_case(&mut of_case_rows, of_case, &measured[0]);
        }
        rows.extend(of_case_rows);
    }
    Ok(rows)
}

impl Case {
    fn setup(&self, context: &Context) -> Result<Setup, Error> {
        let answers = match self.asked {
            Asked::Plain { .. } => DnsAnswers::Fixed,
            Asked::FromNetworks => DnsAnswers::ByNetwork,
            Asked::ForSignatures => DnsAnswers::Signed(Arc::from(sign::zone(context, self.names)?)),
        };
        Ok(Setup {
            dns: Some(Dns {
                names: self.names,
                answers,
            }),
            workers: self.all_cores.then(|| self.workers(context)),
            ..Setup::default()
        })
    }

    /// Threads of each server.
    fn workers(&self, context: &Context) -> usize {
        match self.all_cores {
            true => context.places.all().len(),
            false => context.options.workers,
        }
    }

    /// Cores of the load.
    fn cores(&self, context: &Context) -> Vec<usize> {
        match self.all_cores {
            true => context.places.all(),
            false => context.places.load.clone(),
        }
    }
}

fn drive(
    running: &Running,
    time: Duration,
    queries: &Path,
    cores: &[usize],
) -> Result<Sample, Error> {
    // What this thread starts stays where it is.
    pin(cores);
    let seconds = time.as_secs().max(1).to_string();
    let address = running.address;
    let threads = cores.len().max(1).to_string();
    let output = Command::new("dnsperf")
        .args(["-s", &address.ip().to_string()])
        .args(["-p", &address.port().to_string()])
        .args(["-l", &seconds, "-c", "8", "-q", "200", "-T", &threads])
        .args(["-B", "-d"])
        .arg(queries)
        .output();
    let output = output.map_err(Error::machine("dnsperf (apt-get install dnsperf)"))?;
    let told = String::from_utf8_lossy(&output.stdout);
    let number = |what: &str| {
        let line = told.lines().find_map(|line| line.trim().strip_prefix(what));
        let first = line.and_then(|rest| rest.split_whitespace().next());
        first.and_then(|number| number.parse::<f64>().ok())
    };
    let (Some(answered), Some(ran)) = (number("Queries completed:"), number("Run time (s):"))
    else {
        return Err(running.failed(&format!("dnsperf says: {told}")));
    };
    let mut sample = Sample::new()?;
    sample.requests = answered as u64;
    sample.errors = number("Queries lost:").unwrap_or(0.0) as u64;
    sample.error = (sample.errors > 0).then(|| "no answer within five seconds".to_owned());
    sample.time = Duration::from_secs_f64(ran);
    Ok(sample)
}
