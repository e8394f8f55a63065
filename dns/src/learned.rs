//! What a process learns while it serves, and compiles its answers anew for.

use tokio::sync::Notify;

use crate::transfer::{Secondaries, Told};

/// What was learned since the start. It outlives reloads.
#[derive(Debug, Default)]
pub(crate) struct Learned {
    news: Notify,
    /// Zones that come from primaries.
    pub(crate) secondaries: Secondaries,
    /// Zones that others copy.
    pub(crate) told: Told,
}

impl Learned {
    /// Has the answers compiled anew, soon. Many calls may lead to one compilation.
    pub(crate) fn tell(&self) {
        self.news.notify_one();
    }

    /// Waits until there is something that was not compiled yet.
    pub(crate) async fn news(&self) {
        self.news.notified().await;
    }
}
