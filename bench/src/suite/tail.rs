//! Tails: the slowest of a thousand requests, at rates that the peers can carry.
//!
//! First each peer shows how many requests a second it can answer at most. All then get the same
//! rates: shares of what Tidegate and nginx both can. A peer that can carry less than a rate sits it
//! out, for its queue would only grow. The load is an open loop without coordinated omission.

use std::time::Duration;

use super::{Suite, without_tls};
use crate::error::Error;
use crate::load::{Closed, Open, Requests};
use crate::peer::{Log, OURS, Setup};
use crate::report::Row;
use crate::stage::{Context, Stage};

pub(super) const SUITE: Suite = Suite {
    name: "tail",
    shows: "p99.9 at 50 % and 80 % of what Tidegate and nginx both can carry; open loop",
    run,
};

/// Shares of what both can carry, least first.
const SHARES: [(&str, f64); 2] = [("50 %", 0.5), ("80 %", 0.8)];

fn run(context: &Context) -> Result<Vec<Row>, Error> {
    let setup = Setup {
        log: Log::Combined,
        ..Setup::default()
    };
    let mut stage = Stage::start(context, SUITE.name, "both rates", &setup)?;
    let requests = Requests::get(["/"], "");
    stage.check_answers(&requests, without_tls)?;
    let most = saturation(context, &mut stage, &requests)?;
    let both = most
        .iter()
        .filter(|(peer, _)| [OURS, "nginx"].contains(peer));
    let both = both.map(|(_, most)| *most).fold(f64::INFINITY, f64::min);
    let mut rows = Vec::new();
    for (name, share) in SHARES {
        let can = |peer| {
            most.iter()
                .any(|(name, most)| *name == peer && *most > both * share)
        };
        stage.running.retain(|running| can(running.peer.name));
        let load = Open {
            rate: both * share,
            connections: context.options.connections,
            requests: requests.clone(),
        };
        let case = case(context, &mut stage, name, &load);
        rows.extend(context.found(SUITE.name, name, case));
    }
    Ok(rows)
}

fn case(
    context: &Context,
    stage: &mut Stage<'_>,
    name: &str,
    load: &Open,
) -> Result<Vec<Row>, Error> {
    let measured = stage.rounds(|running, time| load.run(&without_tls(running), time))?;
    let mut rows = Row::of_case(SUITE.name, name, context.options.workers, &measured);
    let ours = rows.iter().find(|row| row.peer == OURS);
    let ours = ours.and_then(|row| row.p999_us);
    for row in &mut rows {
        row.more.insert("rate", load.rate);
        let ratio = ours.zip(row.p999_us).map(|(ours, theirs)| ours / theirs);
        row.more.extend(ratio.map(|ratio| ("p999_ratio", ratio)));
    }
    Ok(rows)
}

/// Requests a second that each peer answers when it has as much to do as it can.
fn saturation(
    context: &Context,
    stage: &mut Stage<'_>,
    requests: &Requests,
) -> Result<Vec<(&'static str, f64)>, Error> {
    let load = Closed::new(context.options.connections, requests.clone());
    stage.each(|running| {
        load.run(&without_tls(running), Duration::from_millis(500))?; // warms up
        let sample = load.run(&without_tls(running), Duration::from_secs(2))?;
        Ok(sample.requests as f64 / sample.time.as_secs_f64())
    })
}
