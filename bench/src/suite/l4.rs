//! Balancers of TCP connections. The load and the origin speak HTTP through them, which they know nothing of.

use super::{Suite, idle, without_tls};
use crate::error::Error;
use crate::load::{Closed, Requests, Reuse};
use crate::peer::{BALANCERS, Setup};
use crate::report::Row;
use crate::stage::{Context, Stage};

pub(super) const SUITE: Suite = Suite {
    name: "l4",
    shows: "TCP connections through a balancer, beside HAProxy and nginx's stream module",
    run,
};

/// What is measured of every balancer.
struct Case {
    name: &'static str,
    /// Octets of an answer; the short one when 0.
    length: usize,
    reuse: Reuse,
    /// Whether the balancer looks for the name of the host.
    named: bool,
}

const CASES: [Case; 4] = [
    Case {
        name: "16 MB",
        length: 16_000_000,
        reuse: Reuse::KeepAlive,
        named: false,
    },
    Case {
        name: "connection a request",
        length: 0,
        reuse: Reuse::ClientCloses,
        named: false,
    },
    Case {
        name: "80 B",
        length: 0,
        reuse: Reuse::KeepAlive,
        named: false,
    },
    Case {
        name: "connection by Host",
        length: 0,
        reuse: Reuse::ClientCloses,
        named: true,
    },
];

/// Half as many as elsewhere: each needs two open files of the balancer.
const HALF: usize = 2;

fn run(context: &Context) -> Result<Vec<Row>, Error> {
    let wanted = &context.options.case;
    let cases = CASES.iter().filter(|case| case.name.contains(wanted));
    let mut rows: Vec<Row> = cases
        .flat_map(|case| context.found(SUITE.name, case.name, measure(context, case)))
        .collect();
    if idle::CASE.contains(wanted) {
        rows.extend(context.found(SUITE.name, idle::CASE, hold(context)));
    }
    Ok(rows)
}

fn measure(context: &Context, case: &Case) -> Result<Vec<Row>, Error> {
    let setup = Setup {
        routes: usize::from(case.named),
        ..Setup::default()
    };
    let path = match case.length {
        0 => "/".to_owned(),
        length => format!("/bytes/{length}"),
    };
    let requests = Requests::get([path], "");
    let connections = super::bodies::connections(context, case.length);
    let load = Closed::new(connections, requests).reuse(case.reuse);
    let mut stage = Stage::start_with(BALANCERS, context, SUITE.name, case.name, &setup)?;
    stage.check_answers(&load.requests, without_tls)?;
    let measured = stage.rounds(|running, time| load.run(&without_tls(running), time))?;
    let mut rows = Row::of_case(SUITE.name, case.name, context.options.workers, &measured);
    if case.length > 0 {
        for row in &mut rows {
            let micros_a_byte = row.cpu_us_per_request.map(|cpu| cpu / case.length as f64);
            if let Some(micros) = micros_a_byte {
                row.more.insert("cpu_seconds_per_gb", micros * 1e3);
            }
        }
    }
    Ok(rows)
}

fn hold(context: &Context) -> Result<Vec<Row>, Error> {
    let setup = Setup::default();
    let mut stage = Stage::start_with(BALANCERS, context, SUITE.name, idle::CASE, &setup)?;
    let count = context.options.idle_connections / HALF;
    idle::hold(&mut stage, SUITE.name, count)
}
