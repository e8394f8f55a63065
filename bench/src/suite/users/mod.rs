//! The user services beside the plain cost of their parts: how much they add to what nobody can do without.
//!
//! Both peers have the same API. So the users of a case are made through it, of either peer, and then the same
//! requests are driven with the names, ids and tokens that each has given.

mod loads;
mod people;

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use self::loads::Load;
use self::people::{Count, People};
use super::{Suite, without_tls};
use crate::error::Error;
use crate::load::{Sample, ask};
use crate::peer::{Cached, Running, Setup, USER_SERVICES, Users};
use crate::report::Row;
use crate::stage::{Context, Options, Stage};

pub(super) const SUITE: Suite = Suite {
    name: "users",
    shows: "user services on embedded files and Redis, beside the plain cost of their parts",
    run,
};

/// One thing that clients of user services do.
struct Case {
    name: &'static str,
    users: Users,
    people: Count,
    load: fn(&People, &Options) -> Load,
}

fn run(context: &Context) -> Result<Vec<Row>, Error> {
    let mut rows = Vec::new();
    for case in CASES {
        if !case.name.contains(&context.options.case) {
            continue;
        }
        match measure(context, case) {
            // Without Redis there is no case at all.
            Err(error @ Error::Server(_)) => return Err(error),
            of_case => rows.extend(context.found(SUITE.name, case.name, of_case)),
        }
    }
    Ok(rows)
}

fn measure(context: &Context, case: &Case) -> Result<Vec<Row>, Error> {
    let setup = Setup {
        users: Some(case.users),
        ..Setup::default()
    };
    let mut stage =
        Stage::start_before_redis(USER_SERVICES, context, SUITE.name, case.name, &setup)?;
    let loads = stage.each(|running| prepare(running, case, &context.options))?;
    let loads: BTreeMap<&str, Load> = loads.into_iter().collect();
    let measured = stage.rounds(|running, time| drive(&loads, running, time))?;
    let workers = context.options.workers;
    Ok(Row::of_case(SUITE.name, case.name, workers, &measured))
}

/// Makes the users of a case, and makes sure that its first request is answered as it should be.
fn prepare(running: &Running, case: &Case, options: &Options) -> Result<Load, Error> {
    let target = without_tls(running);
    let people = People::make(&target, case.people);
    let people = people.map_err(|error| running.failed(&format!("it makes no users: {error}")))?;
    let load = (case.load)(&people, options);
    let answer = ask(&target, load.first.at(0));
    let (status, body) = answer.map_err(|error| running.failed(&format!("no answer: {error}")))?;
    let json: Value = serde_json::from_slice(&body).unwrap_or_default();
    let told = json.pointer(load.tells).and_then(Value::as_str);
    if status == load.status && told.is_some_and(|text| !text.is_empty()) {
        return Ok(load);
    }
    let (wanted, tells) = (load.status, load.tells);
    let body = String::from_utf8_lossy(&body);
    let what = format!("it answers {status}, not {wanted} with {tells}: {body}");
    Err(running.failed(&what))
}

fn drive(loads: &BTreeMap<&str, Load>, running: &Running, time: Duration) -> Result<Sample, Error> {
    let load = loads.get(running.peer.name);
    let load = load.ok_or_else(|| running.failed("it was not prepared"))?;
    (load.run)(&without_tls(running), time)
}

/// Hashes that cost next to nothing, where they are not what is measured.
const CHEAP: Users = Users {
    memory_kib: 8,
    passes: 1,
    cached: Cached::All,
    gateway: false,
};

/// Hashes as `tidegate users` has them by default.
const PRODUCTION: Users = Users {
    memory_kib: 19 << 10,
    passes: 2,
    ..CHEAP
};

const CASES: &[Case] = &[
    Case {
        name: "cached profile",
        users: CHEAP,
        people: Count::new(64, 64),
        load: loads::own_profiles,
    },
    Case {
        name: "cached profile, through the gateway",
        users: Users {
            gateway: true,
            ..CHEAP
        },
        people: Count::new(64, 64),
        load: loads::own_profiles,
    },
    Case {
        name: "uncached profile",
        users: Users {
            cached: Cached::Nothing,
            ..CHEAP
        },
        people: Count::new(2_000, 64),
        load: loads::profiles,
    },
    Case {
        name: "batch of 100",
        users: CHEAP,
        people: Count::new(200, 1),
        load: loads::batches,
    },
    Case {
        name: "login",
        users: PRODUCTION,
        people: Count::new(8, 0),
        load: loads::logins,
    },
    Case {
        name: "refresh",
        users: CHEAP,
        people: Count::new(65, 65),
        load: loads::refreshes,
    },
    Case {
        name: "register",
        users: PRODUCTION,
        people: Count::new(0, 0),
        load: loads::registrations,
    },
];
