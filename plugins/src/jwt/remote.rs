//! A JSON Web Key Set fetched over HTTP, kept fresh in the background.

use std::sync::{Arc, LazyLock, Weak};
use std::time::Duration;

use arc_swap::{ArcSwapOption, Guard};
use jsonwebtoken::jwk::JwkSet;
use prometheus::{IntCounterVec, Opts, core::Collector};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::keys::Keys;

/// A key set at a URL.
pub(super) struct Remote {
    name: String,
    url: String,
    refresh: Duration,
    keys: ArcSwapOption<Keys>,
    wanted: Notify,
    /// When the last attempt ended; none before the first.
    attempted: watch::Sender<Option<Instant>>,
}

/// Attempts are at least this far apart, whatever clients send.
const GAP: Duration = Duration::from_secs(1);
const TIMEOUT: Duration = Duration::from_secs(3);
const MAX_BYTES: usize = 1024 * 1024;

static FETCHES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let opts = Opts::new("tidegate_jwks_fetches_total", "Attempts to fetch a key set");
    IntCounterVec::new(opts, &["plugin", "result"]).expect("name and labels are valid")
});

pub(super) fn metrics() -> Vec<Box<dyn Collector>> {
    vec![Box::new(FETCHES.clone())]
}

impl Remote {
    /// Begins to fetch on `runtime`, until the last reference is gone; never when there is no runtime.
    pub(super) fn start(
        name: &str,
        url: &str,
        refresh: Duration,
        runtime: Option<&tokio::runtime::Handle>,
    ) -> Result<Arc<Self>, String> {
        let remote = Arc::new(Self {
            name: name.into(),
            url: url.into(),
            refresh,
            keys: ArcSwapOption::empty(),
            wanted: Notify::new(),
            attempted: watch::channel(None).0,
        });
        if let Some(runtime) = runtime {
            let client = reqwest::Client::builder()
                .timeout(TIMEOUT)
                .redirect(reqwest::redirect::Policy::none())
                .no_proxy()
                .build()
                .map_err(|error| error.to_string())?;
            runtime.spawn(Self::keep_fresh(Arc::downgrade(&remote), client));
        }
        Ok(remote)
    }

    /// Whether it is this URL, kept as fresh.
    pub(super) fn is(&self, url: &str, refresh: Duration) -> bool {
        self.url == url && self.refresh == refresh
    }

    /// The keys, once there are any. Borrowed, for the count of an `Arc` would be written by every thread.
    pub(super) fn current(&self) -> Guard<Option<Arc<Keys>>> {
        self.keys.load()
    }

    /// Waits for the outcome of the next attempt, which comes as soon as [`GAP`] allows: a key
    /// that was published a moment ago must not be refused.
    pub(super) async fn fetch_now(&self) {
        let mut attempted = self.attempted.subscribe();
        attempted.mark_unchanged();
        self.wanted.notify_one();
        let _ = tokio::time::timeout(GAP + TIMEOUT, attempted.changed()).await;
    }

    async fn keep_fresh(this: Weak<Self>, client: reqwest::Client) {
        let mut failures: u32 = 0;
        loop {
            let Some(remote) = this.upgrade() else { return };
            failures = match remote.attempt(&client).await {
                Ok(()) => 0,
                Err(error) => {
                    tracing::warn!(plugin = remote.name, url = remote.url, error, "no key set");
                    failures.saturating_add(1)
                }
            };
            let refresh = match failures {
                0 => remote.refresh,
                failures => GAP * 2u32.pow(failures.min(5) - 1),
            };
            remote.attempted.send_replace(Some(Instant::now()));
            drop(remote);
            Self::pause(&this, refresh).await;
        }
    }

    /// Until the next attempt is due or wanted. The plugin may go away meanwhile.
    async fn pause(this: &Weak<Self>, refresh: Duration) {
        let due = Instant::now() + refresh;
        while Instant::now() < due {
            let Some(remote) = this.upgrade() else { return };
            let slice = due.min(Instant::now() + Duration::from_secs(5));
            let wanted = tokio::time::timeout_at(slice, remote.wanted.notified()).await;
            if wanted.is_ok() {
                let last = (*remote.attempted.borrow()).unwrap_or_else(Instant::now);
                tokio::time::sleep_until(last + GAP).await;
                return;
            }
        }
    }

    async fn attempt(&self, client: &reqwest::Client) -> Result<(), String> {
        let outcome = self.fetch(client).await;
        let result = if outcome.is_ok() { "ok" } else { "failed" };
        FETCHES
            .with_label_values(&[self.name.as_str(), result])
            .inc();
        let keys = outcome?;
        if keys.len() == 0 {
            return Err("the key set has no usable key; the former keys stay".into());
        }
        self.keys.store(Some(Arc::new(keys)));
        Ok(())
    }

    async fn fetch(&self, client: &reqwest::Client) -> Result<Keys, String> {
        let failed = |error: reqwest::Error| error.without_url().to_string();
        let response = client.get(&self.url).send().await.map_err(failed)?;
        let mut response = response.error_for_status().map_err(failed)?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > MAX_BYTES {
                return Err("the key set is larger than 1 MiB".into());
            }
            body.extend_from_slice(&chunk);
        }
        let set: JwkSet = serde_json::from_slice(&body)
            .map_err(|error| format!("not a JSON Web Key Set: {error}"))?;
        Ok(Keys::from_jwks(&set))
    }
}
