//! Memory of connections that wait.
//!
//! Each proxy in turn gets thousands of connections. Each sends one request, has its answer, and
//! stays; at the end each sends one more, which shows that it was held. Memory is what the
//! kernel counts for all processes of the proxy, without socket buffers, which are the kernel's.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::timeout_at;

use super::{Suite, without_tls};
use crate::error::Error;
use crate::load::{Connection, Requests};
use crate::machine::{Memory, raise_open_files};
use crate::peer::{OURS, Running, Setup};
use crate::report::Row;
use crate::stage::{Context, Stage};

pub(super) const SUITE: Suite = Suite {
    name: "idle",
    shows: "memory of 10,000 connections that wait for their next request",
    run,
};

/// The only case.
pub(super) const CASE: &str = "connections";

/// Open files of a proxy and of this process that are no connections to clients.
const OTHERS: u64 = 1_000;

/// Connections that come at the same time.
const AT_ONCE: usize = 64;

/// How long all connections together may take to be made, and to be answered once more.
const PATIENCE: Duration = Duration::from_secs(120);

/// How long a proxy may take to give back what it no longer needs.
const SETTLE: Duration = Duration::from_secs(3);

/// What was seen of a proxy.
struct Held {
    connections: usize,
    before: Memory,
    after: Memory,
    took: Duration,
}

impl Held {
    fn per_connection(&self, bytes: u64) -> f64 {
        bytes as f64 / self.connections.max(1) as f64
    }
}

fn run(context: &Context) -> Result<Vec<Row>, Error> {
    let mut stage = Stage::start(context, SUITE.name, CASE, &Setup::default())?;
    let count = context.options.idle_connections;
    hold(&mut stage, SUITE.name, count)
}

/// Has every peer hold connections, as many of these as there may be open files.
pub(super) fn hold(
    stage: &mut Stage<'_>,
    suite: &'static str,
    count: usize,
) -> Result<Vec<Row>, Error> {
    let room = raise_open_files().saturating_sub(OTHERS);
    let count = count.min(usize::try_from(room).unwrap_or(count));
    let requests = Requests::get(["/"], "");
    stage.check_answers(&requests, without_tls)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(Error::machine("a runtime"))?;
    let held = stage.each(|running| {
        let held = runtime.block_on(measure(running, &requests, count));
        match held.connections {
            0 => Err(running.failed("it holds no connection")),
            _ => Ok(held),
        }
    })?;
    Ok(rows(suite, &held))
}

fn rows(suite: &'static str, held: &[(&'static str, Held)]) -> Vec<Row> {
    let pss = |held: &Held| held.per_connection(held.after.pss);
    let ours = held
        .iter()
        .find(|(peer, _)| *peer == OURS)
        .map(|(_, held)| pss(held));
    let row = |(peer, held): &(&'static str, Held)| {
        let growth = held.after.pss.saturating_sub(held.before.pss);
        let mut row = Row::new(suite, CASE, peer);
        row.rss_bytes = Some(held.after.rss);
        row.pss_bytes = Some(held.after.pss);
        row.more.insert("connections", held.connections as f64);
        row.more.insert("bytes_per_connection", pss(held));
        row.more
            .insert("growth_per_connection", held.per_connection(growth));
        row.more.insert(
            "connects_per_second",
            held.connections as f64 / held.took.as_secs_f64(),
        );
        if let Some(ours) = ours {
            row.more.insert("memory_ratio", ours / pss(held));
        }
        row
    };
    held.iter().map(row).collect()
}

async fn measure(running: &Running, requests: &Requests, count: usize) -> Held {
    drop(connect(running, requests, 200).await); // caches and pools fill
    tokio::time::sleep(SETTLE).await;
    let before = running.memory();
    let start = Instant::now();
    let connections = connect(running, requests, count).await;
    let took = start.elapsed();
    tokio::time::sleep(SETTLE).await;
    let after = running.memory();
    let mut held = 0;
    let end = tokio::time::Instant::now() + PATIENCE;
    for mut connection in connections {
        let answered = timeout_at(end, is_answered(&mut connection, requests)).await;
        held += usize::from(answered.unwrap_or(false));
    }
    Held {
        connections: held,
        before,
        after,
        took,
    }
}

/// Connections that each had one answer.
async fn connect(running: &Running, requests: &Requests, count: usize) -> Vec<Connection> {
    let end = tokio::time::Instant::now() + PATIENCE;
    let mut connecting = JoinSet::new();
    let mut connections = Vec::with_capacity(count);
    for _ in 0..count {
        if connecting.len() >= AT_ONCE {
            connections.extend(
                connecting
                    .join_next()
                    .await
                    .and_then(Result::ok)
                    .and_then(Result::ok)
                    .flatten(),
            );
        }
        let (target, requests) = (without_tls(running), requests.clone());
        connecting.spawn(timeout_at(end, async move {
            let mut connection = Connection::open(&target).await.ok()?;
            let answered = is_answered(&mut connection, &requests).await;
            answered.then_some(connection)
        }));
    }
    connections.extend(connecting.join_all().await.into_iter().flatten().flatten());
    connections
}

async fn is_answered(connection: &mut Connection, requests: &Requests) -> bool {
    let answer = connection.exchange(requests.at(0)).await;
    answer.is_ok_and(|answer| answer.status == 200)
}
