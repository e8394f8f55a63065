//! Reload: every cause ends in the one function of the role, one at a time.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use prometheus::{IntCounterVec, IntGauge, Opts};
use tokio::sync::{mpsc, oneshot};

use super::watch::Changes;
use super::{Life, Watched};

/// What a reload says: the files to watch from now on, and what went wrong, one line a mistake.
#[derive(Debug)]
pub struct Reloaded {
    /// Files and folders whose change means the next reload.
    pub watched: Watched,
    /// Nothing when the new configuration serves; else why the old one serves on.
    pub mistakes: Vec<String>,
}

/// A handle to ask for a reload.
#[derive(Clone, Debug)]
pub struct ReloadRequests(mpsc::Sender<Request>);

/// Why a reload that was asked for has changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotReloaded {
    /// The new configuration is wrong; one line a mistake.
    #[error("{0}")]
    Mistakes(String),
    /// This process is about to end, or another has taken its place.
    #[error("this process is leaving: ask again, for its successor")]
    Leaving,
}

type Request = oneshot::Sender<Result<(), NotReloaded>>;

/// Where the requests of a [`ReloadRequests`] arrive, for [`Life::obey_reloads`].
pub type ReloadReceiver = mpsc::Receiver<oneshot::Sender<Result<(), NotReloaded>>>;

impl ReloadRequests {
    /// A handle, and the other end for [`Life::obey_reloads`].
    pub fn channel() -> (Self, ReloadReceiver) {
        let (sender, receiver) = mpsc::channel(16);
        (Self(sender), receiver)
    }

    /// Reloads and waits for the outcome.
    ///
    /// # Errors
    /// Why the old configuration serves on.
    pub async fn ask(&self) -> Result<(), NotReloaded> {
        let (reply, answer) = oneshot::channel();
        let asked = self.0.send(reply).await;
        asked.map_err(|_| NotReloaded::Leaving)?;
        answer.await.map_err(|_| NotReloaded::Leaving)?
    }
}

/// Editors write a file in several steps: wait until they are through.
const SETTLE: Duration = Duration::from_millis(100);

impl Life {
    /// Reloads for SIGHUP, for changed files and for requests, until the role leaves.
    ///
    /// # Errors
    /// When metrics clash, or when it was called before.
    pub async fn obey_reloads(
        &self,
        mut requests: ReloadReceiver,
        mut changes: Changes,
        mut reload: impl AsyncFnMut() -> Reloaded,
    ) -> std::io::Result<()> {
        let metrics = Metrics::register(&self.registry).map_err(std::io::Error::other)?;
        let hangup = self.take_hangup();
        let mut hangup = hangup.ok_or_else(|| std::io::Error::other("reloads are obeyed once"))?;
        loop {
            let mut waiting: Vec<Request> = Vec::new();
            tokio::select! {
                () = self.leaving() => return Ok(()),
                _ = hangup.recv() => {}
                () = changes.next() => {
                    tokio::time::sleep(SETTLE).await;
                    changes.forget();
                }
                request = requests.recv() => waiting.extend(request),
            }
            while let Ok(request) = requests.try_recv() {
                waiting.push(request);
            }
            let began = SystemTime::now();
            let reloaded = tokio::select! {
                biased;
                // Who waits learns it, because the requests are dropped.
                () = self.leaving() => return Ok(()),
                reloaded = reload() => reloaded,
            };
            let succeeded = reloaded.mistakes.is_empty();
            changes = match succeeded {
                true => changes.watch_instead(reloaded.watched, began),
                false => changes.watch_also(reloaded.watched, began),
            };
            metrics.count(succeeded);
            for line in &reloaded.mistakes {
                tracing::error!("reload failed, the old configuration serves on: {line}");
            }
            if reloaded.mistakes.is_empty() {
                tracing::info!("configuration reloaded");
            }
            for request in waiting {
                let _ = request.send(match reloaded.mistakes.as_slice() {
                    [] => Ok(()),
                    lines => Err(NotReloaded::Mistakes(lines.join("\n"))),
                });
            }
        }
    }
}

struct Metrics {
    total: IntCounterVec,
    last_failed: IntGauge,
}

impl Metrics {
    fn register(registry: &prometheus::Registry) -> prometheus::Result<Self> {
        let total = IntCounterVec::new(
            Opts::new("tidegate_reloads_total", "Reloads of the configuration"),
            &["result"],
        )?;
        let last_failed = IntGauge::new(
            "tidegate_reload_last_failed",
            "1 while the file on disk is not what serves",
        )?;
        registry.register(Box::new(total.clone()))?;
        registry.register(Box::new(last_failed.clone()))?;
        Ok(Self { total, last_failed })
    }

    fn count(&self, ok: bool) {
        let result = if ok { "ok" } else { "failed" };
        self.total.with_label_values(&[result]).inc();
        self.last_failed.set(i64::from(!ok));
    }
}

impl Reloaded {
    /// A reload that succeeded.
    pub fn ok(watched: Watched) -> Self {
        Self {
            watched,
            mistakes: Vec::new(),
        }
    }

    /// A reload that failed; `also` are files beyond the configuration that matter.
    pub fn failed(report: &crate::config::Report, also: Vec<PathBuf>) -> Self {
        Self {
            watched: Watched::new(report.sources(), also),
            mistakes: report.lines().collect(),
        }
    }
}
