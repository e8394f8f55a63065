//! Watching files for changes, through their folders: editors replace files rather than write them.

use std::collections::BTreeSet;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;

use crate::config::Sources;

/// The clock of files is behind by so much at most.
const COARSE: Duration = Duration::from_millis(20);

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
            missed: false,
        }
    }

    fn all_folders(&self) -> BTreeSet<&Path> {
        let parents = self.files.iter().filter_map(|file| file.parent());
        parents
            .chain(self.folders.iter().map(PathBuf::as_path))
            .filter(|folder| folder.is_dir())
            .collect()
    }

    /// Whether a file was written, renamed or linked since then.
    fn changed_since(&self, since: SystemTime) -> bool {
        let since = since.checked_sub(COARSE).unwrap_or(since);
        let since = since.duration_since(SystemTime::UNIX_EPOCH);
        let since = since.unwrap_or_default().as_nanos();
        let changed = |metadata: Metadata| {
            let nanos =
                i128::from(metadata.ctime()) * 1_000_000_000 + i128::from(metadata.ctime_nsec());
            u128::try_from(nanos).is_ok_and(|nanos| nanos >= since)
        };
        let is_changed = |file: &PathBuf| {
            let seen = [file.metadata(), file.symlink_metadata()];
            seen.into_iter().flatten().any(changed)
        };
        self.files.iter().any(is_changed)
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
    /// Whether something changed before it was watched.
    missed: bool,
}

impl Changes {
    /// Resolves after the next change; never when nothing can be watched.
    pub(super) async fn next(&mut self) {
        if std::mem::take(&mut self.missed) {
            return;
        }
        if self.watcher.is_none() || self.receiver.recv().await.is_none() {
            std::future::pending().await
        }
    }

    /// Forgets what has changed so far.
    pub(super) fn forget(&mut self) {
        while self.receiver.try_recv().is_ok() {}
    }

    /// Watches these files too, while it is not known which count. They were read after `since`.
    pub(super) fn watch_also(self, watched: Watched, since: SystemTime) -> Self {
        let all = watched.and(&self.watched);
        self.watch_instead(all, since)
    }

    /// Watches other files from now on. They were read after `since`: what has changed from then on is a change too.
    pub(super) fn watch_instead(self, watched: Watched, since: SystemTime) -> Self {
        if self.watched == watched {
            return self;
        }
        let mut changes = watched.watch();
        changes.missed = changes.watched.changed_since(since);
        changes
    }
}

fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_comes_before_it_is_watched_is_not_missed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("later");
        let watching = |files: &[&Path]| Watched {
            files: files.iter().map(|file| (*file).to_owned()).collect(),
            folders: BTreeSet::new(),
        };
        let since = SystemTime::now();
        std::fs::write(&file, "here").unwrap();
        let mut changes = watching(&[])
            .watch()
            .watch_instead(watching(&[&file]), since);
        let next = tokio::time::timeout(Duration::from_secs(5), changes.next());
        next.await.expect("it came after the files were read");
        let later = SystemTime::now() + Duration::from_secs(1);
        let changes = watching(&[])
            .watch()
            .watch_instead(watching(&[&file]), later);
        assert!(!changes.missed, "it was there when the files were read");
    }
}
