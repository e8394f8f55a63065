//! What a process learns while it serves, and compiles its answers anew for.

use tokio::sync::Notify;

use crate::dnssec::Keys;

/// What was learned since the start. It outlives reloads.
#[derive(Debug, Default)]
pub(crate) struct Learned {
    news: Notify,
    /// Keys of signed zones, and the signatures that were made with them.
    pub(crate) keys: Keys,
}

impl Learned {
    /// For a process that serves, and keeps what it decides.
    pub(crate) fn serving() -> Self {
        Self {
            keys: Keys::writing(),
            ..Self::default()
        }
    }

    /// Has the answers compiled anew, soon. Many calls may lead to one compilation.
    pub(crate) fn tell(&self) {
        self.news.notify_one();
    }

    /// Waits until there is something that was not compiled yet.
    pub(crate) async fn news(&self) {
        self.news.notified().await;
    }
}
