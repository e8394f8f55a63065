//! A reload a second, under load.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

use super::{Suite, without_tls};
use crate::error::Error;
use crate::load::{Closed, Requests, Sample};
use crate::peer::{Log, Running, Setup};
use crate::report::Row;
use crate::stage::Stage;

pub(super) const SUITE: Suite = Suite {
    name: "reload",
    shows: "errors and p99 with a reload each second, 100 routes",
    run: |context| {
        let setup = Setup {
            log: Log::Combined,
            routes: ROUTES,
            ..Setup::default()
        };
        let mut stage = Stage::start(context, SUITE.name, CASE, &setup)?;
        stage.running.retain(Running::can_reload);
        let targets = (0..ROUTES).map(|route| format!("/route-{route}/item"));
        let load = Closed::new(context.options.connections, Requests::get(targets, ""));
        stage.check_answers(&load.requests, without_tls)?;
        let reloads = AtomicUsize::new(0);
        let measured = stage.rounds(|running, time| reloading(running, &load, time, &reloads))?;
        let workers = context.options.workers;
        let peers = stage.running.len().max(1);
        let each = reloads.into_inner() as f64 / peers as f64;
        let rows = Row::of_case(SUITE.name, CASE, workers, &measured);
        Ok(rows
            .into_iter()
            .map(|mut row| {
                row.more.insert("reloads", each);
                row
            })
            .collect())
    },
};

/// The only case.
const CASE: &str = "1 a second";

const ROUTES: usize = 100;

/// Drives the load while another thread reloads.
fn reloading(
    running: &Running,
    load: &Closed,
    time: Duration,
    reloads: &AtomicUsize,
) -> Result<Sample, Error> {
    let (end, ended) = channel::<()>();
    std::thread::scope(|scope| {
        let reloader = scope.spawn(|| {
            let first = Duration::from_millis(250); // a round of a second has one
            let mut pause = first;
            while ended.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                running.reload()?;
                reloads.fetch_add(1, Ordering::Relaxed);
                pause = Duration::from_secs(1);
            }
            drop(ended);
            Ok(())
        });
        let sample = load.run(&without_tls(running), time);
        drop::<Sender<()>>(end);
        let reloaded = reloader.join();
        reloaded.map_err(|_| Error::Load("the thread that reloads panicked".into()))??;
        sample
    })
}
