//! A timer that is always near while connections begin.

use std::cell::Cell;
use std::time::Duration;

use tokio::task::spawn_local;
use tokio::time::sleep;

/// Shorter than every time that a connection is given.
const BEAT: Duration = Duration::from_millis(50);

thread_local! {
    /// Whether a connection has begun since the last beat.
    static BEGUN: Cell<bool> = const { Cell::new(false) };
    static BEATS: Cell<bool> = const { Cell::new(false) };
}

/// To be called when a connection begins. A runtime that is told of a timer which is due before all others wakes itself
/// by a write to its own descriptor, which for a short connection is two writes and a look at the events more than it
/// needs. Behind this timer no other is the first.
pub(super) fn keep() {
    BEGUN.set(true);
    if !BEATS.replace(true) {
        drop(spawn_local(async {
            while BEGUN.replace(false) {
                sleep(BEAT).await;
            }
            BEATS.set(false);
        }));
    }
}
