//! What a listener refused: counted by reason, and told to the log as far as that is useful.

use std::net::SocketAddr;

use chassis::telemetry::{Cells, may_log};

use crate::refusal::Refusal;

/// Refusals of one listener; survives reloads by the listener's name.
#[derive(Debug)]
pub(crate) struct Refusals {
    listener: std::sync::Arc<str>,
    counts: Cells,
}

impl Refusals {
    pub(crate) fn new(listener: std::sync::Arc<str>) -> Self {
        Self {
            listener,
            counts: Cells::new(Refusal::ALL.len()),
        }
    }

    /// Counts one, from this client.
    pub(crate) fn count(&self, refusal: Refusal, client: Option<SocketAddr>) {
        self.counts.add(refusal as usize, 1);
        if may_log() {
            let client = client.map(|client| client.to_string());
            tracing::info!(
                listener = &*self.listener,
                client,
                reason = refusal.label(),
                "refused"
            );
        }
    }

    /// How many there were for each reason that there was any for.
    pub(crate) fn counted(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counted = Refusal::ALL.into_iter();
        let counted = counted.map(|one| (one.label(), self.counts.sum(one as usize)));
        counted.filter(|(_, count)| *count > 0)
    }
}
