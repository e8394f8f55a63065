//! Watching files for changes, through their folders: editors replace files rather than write them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;

use crate::config::Sources;

/// The files and folders whose change matters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watched {
    files: BTreeSet<PathBuf>,
    folders: BTreeSet<PathBuf>,
}

impl Watched {
    /// The files of a configuration, and others that it names (certificates).
    pub fn new(sources: &Sources, also: Vec<PathBuf>) -> Self {
        let files: BTreeSet<PathBuf> = sources.paths().chain(also).map(absolute).collect();
        let folders = sources.include_folders().map(absolute).collect();
        Self { files, folders }
    }

    /// These and others.
    #[must_use]
    pub(super) fn and(mut self, others: &Self) -> Self {
        self.files.extend(others.files.iter().cloned());
        self.folders.extend(others.folders.iter().cloned());
        self
    }

    /// Starts watching. What changes from now on is not missed, however late [`Life::obey_reloads`] asks.
    ///
    /// [`Life::obey_reloads`]: super::Life::obey_reloads
    pub fn watch(self) -> Changes {
        let (sender, receiver) = mpsc::channel(1);
        let watched = self.clone();
        let handler = move |event: notify::Result<Event>| {
            if event.is_ok_and(|event| watched.concerns(&event)) {
                let _ = sender.try_send(());
            }
        };
        let watcher = notify::recommended_watcher(handler).and_then(|mut watcher| {
            for folder in self.all_folders() {
                watcher.watch(folder, RecursiveMode::NonRecursive)?;
            }
            Ok(watcher)
        });
        if let Err(error) = &watcher {
            tracing::warn!(%error, "cannot watch the configuration: reload with SIGHUP");
        }
        Changes {
            watched: self,
            watcher: watcher.ok(),
            receiver,
        }
    }

    fn all_folders(&self) -> BTreeSet<&Path> {
        let parents = self.files.iter().filter_map(|file| file.parent());
        parents
            .chain(self.folders.iter().map(PathBuf::as_path))
            .filter(|folder| folder.is_dir())
            .collect()
    }

    fn concerns(&self, event: &Event) -> bool {
        if matches!(event.kind, EventKind::Access(_)) {
            return false;
        }
        event.paths.iter().any(|path| {
            let in_folder = || path.parent().is_some_and(|at| self.folders.contains(at));
            // Kubernetes swaps a link named `..data` when a ConfigMap changes.
            let swapped = || path.file_name().is_some_and(|name| name == "..data");
            self.files.contains(path) || swapped() || in_folder()
        })
    }
}

/// Changes of what is watched.
#[derive(Debug)]
pub struct Changes {
    watched: Watched,
    watcher: Option<RecommendedWatcher>,
    receiver: mpsc::Receiver<()>,
}

impl Changes {
    /// Resolves after the next change; never when nothing can be watched.
    pub(super) async fn next(&mut self) {
        if self.watcher.is_none() || self.receiver.recv().await.is_none() {
            std::future::pending().await
        }
    }

    /// Forgets what has changed so far.
    pub(super) fn forget(&mut self) {
        while self.receiver.try_recv().is_ok() {}
    }

    /// Watches these files too, while it is not known which count.
    pub(super) fn watch_also(self, watched: Watched) -> Self {
        let all = watched.and(&self.watched);
        self.watch_instead(all)
    }

    /// Watches other files from now on.
    pub(super) fn watch_instead(self, watched: Watched) -> Self {
        match self.watched == watched {
            true => self,
            false => watched.watch(),
        }
    }
}

fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}
