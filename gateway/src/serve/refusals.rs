//! What a listener refused: counted by reason, and told to the log as far as that is useful.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{SystemTime, UNIX_EPOCH};

use chassis::telemetry::Cells;

use crate::refusal::Refusal;

/// Refusals of one listener; survives reloads by the listener's name.
#[derive(Debug)]
pub(crate) struct Refusals {
    listener: std::sync::Arc<str>,
    counts: Cells,
}

/// Lines a second that all listeners together may write: a flood of nonsense must not become one of logs.
const LINES_A_SECOND: u64 = 20;

/// The second that is now in the upper bits, and the lines that it has seen in the lower ones.
static LINES: AtomicU64 = AtomicU64::new(0);
const LINE_BITS: u32 = 24;

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

/// Whether another line may be written now.
pub(crate) fn may_log() -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let second = now.map_or(0, |now| now.as_secs()) << LINE_BITS;
    let before = LINES.load(Relaxed);
    if before & !((1 << LINE_BITS) - 1) != second {
        LINES.store(second + 1, Relaxed);
        return true;
    }
    LINES.fetch_add(1, Relaxed) < second + LINES_A_SECOND
}
