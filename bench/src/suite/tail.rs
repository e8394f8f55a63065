//! Tails: the slowest of a thousand requests, at a rate that every peer can carry.
//!
//! First each peer shows how many requests a second it can answer at most. All then get the same
//! rates: shares of what the slowest can do. The load is an open loop without coordinated omission.

use std::time::Duration;

use super::{Suite, without_tls};
use crate::error::Error;
use crate::load::{Closed, Open, Requests};
use crate::peer::{Log, Setup};
use crate::report::Row;
use crate::stage::{Context, Stage};

pub(super) const SUITE: Suite = Suite {
    name: "tail",
    shows: "p99.9 at 50 % and 80 % of what the slowest peer can carry; open loop",
    run,
};

/// Shares of what the slowest peer can carry.
const SHARES: [(&str, f64); 2] = [("50 %", 0.5), ("80 %", 0.8)];

fn run(context: &Context) -> Result<Vec<Row>, Error> {
    let setup = Setup {
        log: Log::Combined,
        ..Setup::default()
    };
    let stage = Stage::start(context, &setup)?;
    let requests = Requests::get(["/"], "");
    stage.check_answers(&requests, without_tls)?;
    let most = saturation(context, &stage, &requests)?;
    let mut rows = Vec::new();
    for (name, share) in SHARES {
        let load = Open {
            rate: most * share,
            connections: context.options.connections,
            requests: requests.clone(),
        };
        let measured = stage.rounds(|running, time| load.run(&without_tls(running), time))?;
        let workers = context.options.workers;
        let case = Row::of_case(SUITE.name, name, workers, &measured);
        rows.extend(case.into_iter().map(|mut row| {
            row.more.insert("rate", load.rate);
            row
        }));
    }
    Ok(rows)
}

/// Requests a second that the slowest peer answers when it has as much to do as it can.
fn saturation(context: &Context, stage: &Stage<'_>, requests: &Requests) -> Result<f64, Error> {
    let load = Closed::new(context.options.connections, requests.clone());
    let mut most = f64::INFINITY;
    for running in &stage.running {
        load.run(&without_tls(running), Duration::from_millis(500))?; // warms up
        let sample = load.run(&without_tls(running), Duration::from_secs(2))?;
        most = most.min(sample.requests as f64 / sample.time.as_secs_f64());
    }
    match most.is_finite() && most > 0.0 {
        true => Ok(most),
        false => Err(Error::Load("a peer answers nothing".into())),
    }
}
