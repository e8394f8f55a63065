//! What a reload leaves as it is: keys of tickets, counts of handshakes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use chassis::tls::Terminator;

use crate::state::ListenerState;

/// How each listener that serves speaks TLS, by its name.
#[derive(Debug, Default)]
pub(crate) struct Memory(Mutex<BTreeMap<Arc<str>, Arc<Terminator>>>);

impl Memory {
    /// Remembers the listeners of a state that serves from now on.
    pub(crate) fn remember(&self, listeners: &[ListenerState]) {
        let with_tls = listeners.iter();
        let with_tls = with_tls.filter_map(|one| Some((one.name.clone(), one.tls.clone()?)));
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = with_tls.collect();
    }

    /// How a listener of this name speaks it.
    pub(super) fn of(&self, listener: &str) -> Option<Arc<Terminator>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(listener).cloned()
    }
}
