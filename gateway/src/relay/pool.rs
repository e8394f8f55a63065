//! Connections that wait for their next request. Each thread has its own, so that nothing is locked
//! and a request stays on its thread.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;

use super::upstream::{Key, Upstream};

/// How many a thread keeps.
const LIMIT: usize = 512;

/// Between two looks at connections that were closed or have waited too long.
const SWEEP: Duration = Duration::from_secs(1);

#[derive(Default)]
struct Pool {
    idle: FxHashMap<Key, Vec<Idle>>,
    count: usize,
    swept: bool,
}

struct Idle {
    upstream: Box<Upstream>,
    until: Instant,
}

thread_local! {
    static POOL: RefCell<Pool> = RefCell::new(Pool::default());
}

/// The connection that was used last, if there is one that can be used.
pub(super) fn take(key: Key, now: Instant) -> Option<Box<Upstream>> {
    POOL.with_borrow_mut(|pool| {
        let idle = pool.idle.get_mut(&key)?;
        while let Some(Idle {
            mut upstream,
            until,
        }) = idle.pop()
        {
            pool.count -= 1;
            if until > now && upstream.is_quiet() {
                upstream.reused = true;
                return Some(upstream);
            }
        }
        None
    })
}

/// Keeps a connection whose answer is complete until a moment.
pub(super) fn put(upstream: Box<Upstream>, until: Instant) {
    let begin = POOL.with_borrow_mut(|pool| {
        if pool.count >= LIMIT {
            return false; // it closes
        }
        let key = upstream.key();
        pool.idle
            .entry(key)
            .or_default()
            .push(Idle { upstream, until });
        pool.count += 1;
        !std::mem::replace(&mut pool.swept, true)
    });
    if begin {
        tokio::spawn(sweep());
    }
}

/// Closes what was closed by the other side or has waited too long, until nothing is left.
async fn sweep() {
    loop {
        tokio::time::sleep(SWEEP).await;
        let left = POOL.with_borrow_mut(|pool| {
            let now = Instant::now();
            pool.idle.retain(|_, idle| {
                idle.retain(|one| one.until > now && one.upstream.is_quiet());
                !idle.is_empty()
            });
            pool.count = pool.idle.values().map(Vec::len).sum();
            pool.swept = pool.count > 0;
            pool.count
        });
        if left == 0 {
            return;
        }
    }
}
