//! Lines about clients: a flood of nonsense must not become one of logs.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{SystemTime, UNIX_EPOCH};

/// Lines a second that all listeners together may write.
const LINES_A_SECOND: u64 = 20;

/// The second that is now in the upper bits, and the lines that it has seen in the lower ones.
static LINES: AtomicU64 = AtomicU64::new(0);
const LINE_BITS: u32 = 24;

/// Whether another line about a client may be written now.
pub fn may_log() -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let second = now.map_or(0, |now| now.as_secs()) << LINE_BITS;
    let before = LINES.load(Relaxed);
    if before & !((1 << LINE_BITS) - 1) != second {
        LINES.store(second + 1, Relaxed);
        return true;
    }
    LINES.fetch_add(1, Relaxed) < second + LINES_A_SECOND
}
