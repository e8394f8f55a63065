//! Authoritative DNS over UDP, beside NSD, Knot and gdnsd with the same zone file.
//!
//! The load is dnsperf, on the cores of the load: so many clients, each with queries under way at all times. What it
//! tells is how many were answered, and the latency on average; percentiles it does not know.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::Suite;
use crate::error::Error;
use crate::load::Sample;
use crate::machine::pin;
use crate::peer::{DNS_SERVERS, DNS_ZONE, Running, Setup, dns_name};
use crate::report::Row;
use crate::stage::{Context, Stage};

pub(super) const SUITE: Suite = Suite {
    name: "dns",
    shows: "authoritative DNS over UDP, beside NSD, Knot and gdnsd",
    run,
};

struct Case {
    name: &'static str,
    names: usize,
    /// Every how many-th query is for a name that is not there; none when 0.
    missing: usize,
}

const CASES: [Case; 3] = [
    Case {
        name: "10,000 names",
        names: 10_000,
        missing: 0,
    },
    Case {
        name: "9 % not there",
        names: 10_000,
        missing: 11,
    },
    Case {
        name: "100,000 names",
        names: 100_000,
        missing: 0,
    },
];

fn run(context: &Context) -> Result<Vec<Row>, Error> {
    let wanted = |case: &&Case| case.name.contains(&context.options.case);
    let cases = CASES.iter().filter(wanted);
    Ok(cases
        .flat_map(|case| context.found(SUITE.name, case.name, measure(context, case)))
        .collect())
}

fn measure(context: &Context, case: &Case) -> Result<Vec<Row>, Error> {
    let setup = Setup {
        names: Some(case.names),
        ..Setup::default()
    };
    let mut stage =
        Stage::start_before_nothing(DNS_SERVERS, context, SUITE.name, case.name, &setup)?;
    let queries = context.file("queries", &queries(case))?;
    let places = context.places.load.clone();
    let load = move |running: &Running, time| drive(running, time, &queries, &places);
    let measured = stage.rounds(load)?;
    let workers = context.options.workers;
    Ok(Row::of_case(SUITE.name, case.name, workers, &measured))
}

/// Each name once, in an order in which neighbours are far from each other.
fn queries(case: &Case) -> String {
    // Has no divisor in common with the numbers of names.
    const STEP: usize = 7_919;
    let mut text = String::new();
    for place in 0..case.names {
        let missing = case.missing > 0 && place % case.missing == 0;
        let name = dns_name(place * STEP % case.names);
        let prefix = if missing { "no" } else { "" };
        text += &format!("{prefix}{name}.{DNS_ZONE} A\n");
    }
    text
}

fn drive(
    running: &Running,
    time: Duration,
    queries: &PathBuf,
    cores: &[usize],
) -> Result<Sample, Error> {
    // What this thread starts stays where it is.
    pin(cores);
    let seconds = time.as_secs().max(1).to_string();
    let address = running.address;
    let output = Command::new("dnsperf")
        .args([
            "-s",
            &address.ip().to_string(),
            "-p",
            &address.port().to_string(),
        ])
        .args(["-l", &seconds, "-c", "8", "-q", "200", "-T", "1", "-d"])
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
