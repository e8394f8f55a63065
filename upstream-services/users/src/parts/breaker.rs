//! Whether another part answers: a circuit breaker.
//!
//! Whoever has waited in vain for the whole time says so; from then on nobody waits any more, until the part has answered a
//! question that nobody waits for.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// The circuit breaker of one part.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    open: AtomicBool,
}

impl Breaker {
    /// Whether the part may be asked.
    pub(super) fn allows(&self) -> bool {
        !self.open.load(Relaxed)
    }

    /// Somebody has waited in vain; whether it is the first, who has to find out when the part is back.
    pub(super) fn trip(&self) -> bool {
        !self.open.swap(true, Relaxed)
    }

    /// The part has answered.
    pub(super) fn close(&self) {
        self.open.store(false, Relaxed);
    }
}
