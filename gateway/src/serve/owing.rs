//! Connections that have ended for us while their clients still take the last answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// How many there are.
#[derive(Clone, Debug, Default)]
pub(crate) struct Owing(Arc<AtomicU64>);

/// A connection's part in it.
pub(crate) struct Debt {
    owing: Owing,
    open: bool,
}

impl Owing {
    pub(crate) fn count(&self) -> u64 {
        self.0.load(Relaxed)
    }

    pub(crate) fn debt(&self) -> Debt {
        Debt {
            owing: self.clone(),
            open: false,
        }
    }
}

impl Debt {
    pub(crate) fn set(&mut self, open: bool) {
        match (self.open, open) {
            (false, true) => self.owing.0.fetch_add(1, Relaxed),
            (true, false) => self.owing.0.fetch_sub(1, Relaxed),
            _ => return,
        };
        self.open = open;
    }
}

impl Drop for Debt {
    fn drop(&mut self) {
        self.set(false);
    }
}
