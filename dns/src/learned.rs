//! What a process learns or makes up while it serves, and keeps over reloads. For addresses of aliases, zones from primaries and keys
//! answers are compiled anew ([`Learned::tell`]); the rest is none of their business.

use std::time::Duration;

use chassis::net::handover::{Kept, TakeOver};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::alias::Aliases;
use crate::dnssec::Keys;
use crate::guard;
use crate::tls::Memory;
use crate::transfer::{Secondaries, Told};

/// What was learned since the start. It outlives reloads.
#[derive(Debug, Default)]
pub(crate) struct Learned {
    /// How listeners speak TLS.
    pub(crate) tls: Memory,
    /// What guards the server.
    pub(crate) guard: guard::Kept,
    news: Notify,
    /// Where aliases lead.
    pub(crate) aliases: Aliases,
    /// Zones that come from primaries.
    pub(crate) secondaries: Secondaries,
    /// Zones that others copy.
    pub(crate) told: Told,
    /// Keys of signed zones, and the signatures that were made with them.
    pub(crate) keys: Keys,
}

impl Learned {
    /// For a process that serves, and keeps what it decides; keys once it is known that it will serve.
    pub(crate) fn serving() -> Self {
        Self {
            keys: Keys::keeping(),
            ..Self::default()
        }
    }

    /// Has the answers compiled anew, soon. Many calls may lead to one compilation.
    pub(crate) fn tell(&self) {
        self.news.notify_one();
    }

    /// Goes on with what the predecessor has made up.
    pub(crate) fn inherit(&self, predecessor: Option<&TakeOver>) {
        if let Some(secret) = predecessor.and_then(|from| from.kept(COOKIE_SECRET)) {
            self.guard.inherit(secret);
        }
    }

    /// What a successor goes on with.
    pub(crate) fn bequeath(&self) -> Kept {
        [(COOKIE_SECRET.to_owned(), self.guard.bequeath())].into()
    }

    /// Has something done for ever when there is something that was not compiled yet: at once, and then for all that came
    /// meanwhile together.
    pub(crate) async fn each_news(&self, mut renew: impl AsyncFnMut()) {
        loop {
            self.news.notified().await;
            let began = Instant::now();
            renew().await;
            // What takes long leaves the core to others as long.
            tokio::time::sleep(began.elapsed().max(BETWEEN_RENEWALS)).await;
        }
    }
}

/// The least time from one compilation for what was learned to the next.
const BETWEEN_RENEWALS: Duration = Duration::from_millis(200);

/// The name of the secret of cookies between a process and its successor.
const COOKIE_SECRET: &str = "dns_cookie_secret";

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test]
    async fn much_news_is_compiled_at_once_and_then_together() {
        let learned = Learned::default();
        let renewed = Cell::new(0);
        let began = Instant::now();
        let telling = async {
            while began.elapsed() < BETWEEN_RENEWALS * 5 / 2 {
                learned.tell();
                tokio::time::sleep(Duration::from_millis(5)).await;
                assert!(renewed.get() > 0, "the first waits for nothing");
            }
        };
        let renewing = learned.each_news(async || renewed.set(renewed.get() + 1));
        tokio::select! {
            () = telling => {}
            () = renewing => {}
        }
        let most = began.elapsed().as_millis() / BETWEEN_RENEWALS.as_millis() + 1;
        assert!((2..=most).contains(&renewed.get()), "{}", renewed.get());
    }
}
