//! The threads of the load: each drives its share of the connections on a runtime of its own.

use std::cell::RefCell;
use std::rc::Rc;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use tokio::task::LocalSet;
use tokio::time::timeout;

use super::Sample;
use crate::error::Error;

/// What all tasks of a thread write to.
pub(super) type Shared = Rc<RefCell<Sample>>;

/// More threads than this have never been the limit.
const MOST: usize = 8;

/// A part of the load.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    /// Its number, from 0 on.
    pub(super) number: usize,
    /// How many parts there are.
    pub(super) of: usize,
}

impl Share {
    /// The numbers of those of `count` connections that belong to it.
    pub(super) fn connections(self, count: usize) -> impl Iterator<Item = usize> {
        (self.number..count).step_by(self.of)
    }
}

/// How long answers may take when no more requests are sent.
const LAST_ANSWERS: Duration = Duration::from_secs(30);

/// Has threads drive the tasks that `start` spawns, which send for `time`, and adds up what they have
/// seen. One core is left to the origin.
pub(super) fn drive(
    connections: usize,
    time: Duration,
    start: impl Fn(Share, &LocalSet, &Shared) + Sync,
) -> Result<Sample, Error> {
    let cores = available_parallelism().map_or(1, usize::from);
    let of = (cores - 1).clamp(1, MOST).min(connections);
    let begin = Instant::now();
    let start = &start;
    let mut whole = Sample::new()?;
    std::thread::scope(|scope| {
        let shares = (0..of).map(|number| Share { number, of });
        let threads = shares.map(|share| scope.spawn(move || drive_share(share, time, start)));
        let threads: Vec<_> = threads.collect();
        threads.into_iter().try_for_each(|thread| {
            let sample = thread.join();
            whole.merge(sample.map_err(|_| Error::Load("a thread panicked".into()))??)
        })
    })?;
    whole.time = begin.elapsed();
    Ok(whole)
}

fn drive_share(
    share: Share,
    time: Duration,
    start: impl Fn(Share, &LocalSet, &Shared),
) -> Result<Sample, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(Error::machine("a runtime"))?;
    let sample = Rc::new(RefCell::new(Sample::new()?));
    let local = LocalSet::new();
    start(share, &local, &sample);
    let whole = runtime.block_on(async { timeout(time + LAST_ANSWERS, local).await });
    whole.map_err(|_| Error::Load("some requests have no answer".into()))?;
    Ok(sample.replace(Sample::new()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_connection_belongs_to_one_share() {
        let shares = (0..3).map(|number| Share { number, of: 3 });
        let mut all: Vec<usize> = shares.flat_map(|share| share.connections(8)).collect();
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2, 3, 4, 5, 6, 7]);
    }
}
