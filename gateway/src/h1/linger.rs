//! The end of a connection whose client may still be reading the last answer, or sending behind it.

use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;

use super::connection::{Connection, Limit};
use crate::deadline::Broken;
use crate::serve::Owing;

/// How much of what comes is dropped before a client that has its answer is closed.
const ENOUGH: usize = 1 << 20;

/// Between two looks at what a client has taken.
const LOOK: Duration = Duration::from_millis(100);

impl Connection {
    /// Ends our direction; what still comes is read and dropped, so that the client can read the
    /// answer (RFC 9112, section 9.6). That takes `timeouts.linger`, and begins anew whenever the client takes some
    /// of what the kernel holds for it or sends something, up to `timeouts.write` in all.
    pub(super) async fn linger(mut self: Box<Self>, owing: &Owing) {
        let (patience, most) = (self.timeouts().linger, self.timeouts().write);
        let last = Instant::now() + most.max(patience);
        let _ = tokio::time::timeout(patience, self.io.shutdown()).await;
        let mut debt = owing.debt();
        let (mut left, mut due) = (usize::MAX, last);
        let mut dropped = 0;
        while !self.ended {
            let now = Instant::now();
            let unsent = self.io.unsent();
            debt.set(unsent > 0);
            if unsent < left {
                left = unsent;
                due = last.min(now + patience);
            }
            if now >= due || (unsent == 0 && dropped >= ENOUGH) {
                return;
            }
            let wake = match unsent {
                0 => due,
                _ => due.min(now + LOOK),
            };
            self.arrived.clear();
            match self.read(Limit::Until(wake)).await {
                Ok(count) => {
                    dropped += count;
                    due = last.min(Instant::now() + patience);
                }
                Err(Broken::Late) => {}
                Err(Broken::Failed(_)) => return,
            }
        }
    }
}
