//! The suites: each a file that says what it shows and how it is measured.
//!
//! A suite of proxies for HTTP is a list of [`Case`]s, which [`compare`] runs. One that measures something
//! else brings its own function. To add one: a file here, and a line in [`SUITES`].

mod bodies;
mod dns;
mod grpc;
mod h2;
mod idle;
mod l4;
mod plain;
mod policy;
mod post;
mod reload;
mod routes;
mod short;
mod tail;
mod tls;
mod users;
mod websocket;

use crate::error::Error;
use crate::load::{Client, Closed, Requests, Resumption, Target};
use crate::peer::{Front, Running, Setup};
use crate::report::Row;
use crate::stage::{Context, Stage};

/// A set of cases that belong together.
#[derive(Debug)]
pub(crate) struct Suite {
    /// What it is called on the command line and in reports.
    pub(crate) name: &'static str,
    /// What it shows, in a line.
    pub(crate) shows: &'static str,
    /// Measures it.
    pub(crate) run: fn(&Context) -> Result<Vec<Row>, Error>,
}

/// All, in the order in which `all` runs them.
pub(crate) const SUITES: &[Suite] = &[
    plain::SUITE,
    bodies::SUITE,
    post::SUITE,
    short::SUITE,
    tls::SUITE,
    idle::SUITE,
    h2::SUITE,
    routes::SUITE,
    tail::SUITE,
    reload::SUITE,
    websocket::SUITE,
    policy::SUITE,
    grpc::SUITE,
    users::SUITE,
    dns::SUITE,
    l4::SUITE,
];

/// One thing that is measured of every peer.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    /// What it is called in reports.
    pub(crate) name: String,
    /// What the peers are to do.
    pub(crate) setup: Setup,
    /// The load.
    pub(crate) load: Closed,
    /// What clients do with TLS sessions, when the peers speak TLS.
    pub(crate) resumption: Resumption,
    /// A request with a forged token, which is to be refused.
    pub(crate) forged: Option<Requests>,
}

impl Case {
    /// Without TLS.
    pub(crate) fn new(name: impl Into<String>, setup: Setup, load: Closed) -> Self {
        Self {
            name: name.into(),
            setup,
            load,
            resumption: Resumption::Never,
            forged: None,
        }
    }
}

/// Where a peer is without TLS.
fn without_tls(running: &Running) -> Target {
    Target {
        address: running.address,
        tls: None,
    }
}

/// Measures these cases, one after the other. One that fails is named, and the next goes on.
pub(crate) fn compare(context: &Context, suite: &'static str, cases: &[Case]) -> Vec<Row> {
    let wanted = &context.options.case;
    let wanted = cases.iter().filter(|case| case.name.contains(wanted));
    wanted
        .flat_map(|case| context.found(suite, &case.name, measure(context, suite, case)))
        .collect()
}

fn measure(context: &Context, suite: &'static str, case: &Case) -> Result<Vec<Row>, Error> {
    let mut stage = Stage::start(context, suite, &case.name, &case.setup)?;
    let tls = match case.setup.front {
        Front::Http => None,
        Front::Tls => Some(Client::new(
            &context.certificate,
            case.resumption,
            b"http/1.1",
        )?),
    };
    let target = |running: &Running| Target {
        address: running.address,
        tls: tls.clone(),
    };
    stage.check_answers(&case.load.requests, target)?;
    if let Some(forged) = &case.forged {
        stage.check_refusal(forged, target)?;
    }
    let measured = stage.rounds(|running, time| case.load.run(&target(running), time))?;
    let workers = context.options.workers;
    Ok(Row::of_case(suite, &case.name, workers, &measured))
}
