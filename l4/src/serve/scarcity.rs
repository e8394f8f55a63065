//! What the threads know of each other while the process has no descriptor left: it has one table of them.
//!
//! A connection that was accepted needs one more, to its endpoint. While one waits for that, no further one is accepted:
//! it would take what the first waits for.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Connections that wait for a descriptor.
static WAITING: AtomicU32 = AtomicU32::new(0);
/// Whether it was said that there are none, and not yet that there are.
static TOLD: AtomicBool = AtomicBool::new(false);
/// When it was said last.
static LAST: Mutex<Option<Instant>> = Mutex::new(None);

/// So long nobody is told again.
const TOLD_FOR: Duration = Duration::from_secs(60);

/// A connection that waits for a descriptor until this is dropped.
#[derive(Debug)]
pub(super) struct Wait(());

impl Wait {
    pub(super) fn begin() -> Self {
        WAITING.fetch_add(1, Relaxed);
        Self(())
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        WAITING.fetch_sub(1, Relaxed);
    }
}

/// Whether a connection waits for a descriptor.
pub(super) fn is_waited_for() -> bool {
    WAITING.load(Relaxed) > 0
}

/// Says that there is none, or what else keeps connections from being accepted; not again within a minute.
pub(super) fn tell(listener: &str, error: &io::Error) {
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    if last.is_none_or(|last| last.elapsed() > TOLD_FOR) {
        *last = Some(Instant::now());
        TOLD.store(true, Relaxed);
        tracing::error!(listener, %error, "cannot accept or connect: connections wait");
    }
}

/// Says that it goes on, once after it was said that it does not.
pub(super) fn is_over() {
    if TOLD.load(Relaxed) && TOLD.swap(false, Relaxed) {
        tracing::info!("connections are accepted again");
    }
}
