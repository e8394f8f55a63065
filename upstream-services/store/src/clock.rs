//! A clock that only goes forward, as a number that fits an atomic.

use std::sync::LazyLock;
use std::time::Instant;

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Milliseconds since this process asked first; never 0.
pub(crate) fn now() -> u64 {
    START.elapsed().as_millis() as u64 + 1
}
