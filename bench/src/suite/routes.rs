//! Many routes: what a request costs must not depend on how many there are.

use super::{Case, Suite, without_tls};
use crate::error::Error;
use crate::figure::Figure;
use crate::load::{Closed, Requests};
use crate::peer::{Log, Setup};
use crate::report::Row;
use crate::stage::{Context, Measured, Stage, rounds_in_turn};

pub(super) const SUITE: Suite = Suite {
    name: "routes",
    shows: "10, 1,000 and 10,000 routes by path, requests spread over them",
    run,
};

/// All cases run at the same time and take turns: it is what they need beside each other that counts.
fn run(context: &Context) -> Result<Vec<Row>, Error> {
    let cases = COUNTS.map(|count| case(context, count));
    let wanted = |case: &&Case| case.name.contains(&context.options.case);
    let cases: Vec<&Case> = cases.iter().filter(wanted).collect();
    let mut stages = Vec::new();
    for case in &cases {
        let mut stage = Stage::start(context, SUITE.name, &case.name, &case.setup)?;
        stage.check_answers(&case.load.requests, without_tls)?;
        stages.push(stage);
    }
    let measured = rounds_in_turn(&mut stages, |number, running, time| {
        cases[number].load.run(&without_tls(running), time)
    })?;
    let mut rows = Vec::new();
    for (case, of_case) in cases.iter().zip(&measured) {
        let workers = context.options.workers;
        let mut of_case_rows = Row::of_case(SUITE.name, &case.name, workers, of_case);
        compare_with_first_case(&mut of_case_rows, of_case, &measured[0]);
        rows.extend(of_case_rows);
    }
    Ok(rows)
}

fn case(context: &Context, count: usize) -> Case {
    let wanted = (0..SPREAD).map(|number| {
        let route = number * count / SPREAD;
        format!("/route-{route}/item")
    });
    let load = Closed::new(context.options.connections, Requests::get(wanted, ""));
    let setup = Setup {
        log: Log::Combined,
        routes: count,
        ..Setup::default()
    };
    Case::new(format!("{count} routes"), setup, load)
}

/// Numbers of routes; each is compared with the first.
const COUNTS: [usize; 3] = [10, 1_000, 10_000];

/// How many routes requests ask for.
const SPREAD: usize = 500;

/// How many times the CPU time of its own first case a peer needs: the median of the rounds.
pub(super) fn compare_with_first_case(rows: &mut [Row], measured: &[Measured], first: &[Measured]) {
    let of = |measured: &[Measured], peer| {
        let measured = measured.iter().find(|measured| measured.peer == peer)?;
        Some(measured.cpu())
    };
    for row in rows {
        if let (Some(cpu), Some(first)) = (of(measured, row.peer), of(first, row.peer)) {
            let ratio = Figure::of_ratios(&cpu, &first);
            row.more
                .extend(ratio.map(|ratio| ("to_first_case", ratio.median)));
        }
    }
}
