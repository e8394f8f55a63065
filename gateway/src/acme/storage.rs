//! The folder that outlives processes: accounts, certificates with their keys, pending challenges.
//!
//! Several processes may share it, as two do during a hand-over: files are replaced whole,
//! and a lock of the kernel, which ends with its holder, says who orders.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use chassis::files;

/// A folder of one authority, or of several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Storage(PathBuf);

/// Held by the one who orders; ends when it is dropped, or with the process.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Storage {
    pub(super) fn new(root: PathBuf) -> Self {
        Self(root)
    }

    pub(super) fn path(&self, entry: &str) -> PathBuf {
        self.0.join(entry)
    }

    /// Makes the folder if it is missing, and makes sure that files can be written there, by nobody else.
    pub(super) fn prepare(&self) -> io::Result<()> {
        make_folder(&self.0)?;
        let mode = fs::metadata(&self.0)?.permissions().mode();
        if mode & 0o022 != 0 {
            let why = format!("others may write there (mode {:04o})", mode & 0o7777);
            return Err(io::Error::new(ErrorKind::PermissionDenied, why));
        }
        let probe = format!("probe.{}", unique());
        self.write(&probe, b"")?;
        self.remove(&probe);
        Ok(())
    }

    /// What a file holds; none when it is not there.
    pub(super) fn read(&self, entry: &str) -> io::Result<Option<Vec<u8>>> {
        let file = match files::open(&self.path(entry)) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        file.take(LARGEST).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    /// Replaces a file, or nothing happens: whoever reads sees the old bytes or the new ones,
    /// also after a loss of power.
    pub(super) fn write(&self, entry: &str, bytes: &[u8]) -> io::Result<()> {
        let path = self.path(entry);
        let folder = path.parent().unwrap_or(&self.0);
        make_folder(folder)?;
        let new = folder.join(format!(".new.{}", unique()));
        let written = write_new(&new, bytes).and_then(|()| fs::rename(&new, &path));
        if written.is_err() {
            let _ = fs::remove_file(&new);
        }
        written?;
        File::open(folder)?.sync_all()
    }

    /// Removes a file, if it is there.
    pub(super) fn remove(&self, entry: &str) {
        let _ = fs::remove_file(self.path(entry));
    }

    /// Takes the lock of this name; none while another has it.
    pub(super) fn try_lock(&self, name: &str) -> io::Result<Option<Lock>> {
        let path = self.path(&format!("locks/{name}"));
        make_folder(&self.path("locks"))?;
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Lock { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Removes what processes that were killed have left in a folder.
    pub(super) fn sweep(&self, folder: &str, older_than: Duration) {
        let now = SystemTime::now();
        for entry in fs::read_dir(self.path(folder))
            .into_iter()
            .flatten()
            .flatten()
        {
            let written = entry.metadata().and_then(|found| found.modified());
            let age = written.ok().and_then(|at| now.duration_since(at).ok());
            if age.is_some_and(|age| age > older_than) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

fn make_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// A part of a file name that no other process and no other call has.
fn unique() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let nanos = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |now| now.subsec_nanos());
    format!("{}.{nanos}.{number}", std::process::id())
}

/// More than any chain, account or challenge has.
const LARGEST: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn storage() -> (tempfile::TempDir, Storage) {
        let folder = tempfile::TempDir::new().unwrap();
        let storage = Storage::new(folder.path().join("acme"));
        (folder, storage)
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn nobody_else_may_look_inside() {
        let (_folder, storage) = storage();
        storage.prepare().unwrap();
        storage.write("certificates/a.pem", b"secret").unwrap();
        let _lock = storage.try_lock("a").unwrap();
        for folder in ["", "certificates", "locks"] {
            assert_eq!(mode(&storage.path(folder)), 0o700, "{folder}");
        }
        for file in ["certificates/a.pem", "locks/a"] {
            assert_eq!(mode(&storage.path(file)), 0o600, "{file}");
        }
    }

    #[test]
    fn a_folder_that_others_may_write_to_is_refused() {
        let (_folder, storage) = storage();
        storage.prepare().unwrap();
        fs::set_permissions(storage.path(""), fs::Permissions::from_mode(0o770)).unwrap();
        let why = storage.prepare().unwrap_err().to_string();
        assert_eq!(why, "others may write there (mode 0770)");
    }

    #[test]
    fn a_file_is_replaced_whole_and_leaves_nothing_behind() {
        let (_folder, storage) = storage();
        assert_eq!(storage.read("certificates/a.pem").unwrap(), None);
        for bytes in [&b"a longer first text"[..], b"second"] {
            storage.write("certificates/a.pem", bytes).unwrap();
            let read = storage.read("certificates/a.pem").unwrap();
            assert_eq!(read.as_deref(), Some(bytes));
        }
        let files = fs::read_dir(storage.path("certificates")).unwrap().count();
        assert_eq!(files, 1);
    }

    #[test]
    fn readers_never_see_a_part() {
        let (_folder, storage) = storage();
        let long = vec![b'x'; 256 * 1024];
        storage.write("a", &long).unwrap();
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                for _ in 0..20 {
                    storage.write("a", &long).unwrap();
                }
            });
            while !writer.is_finished() {
                let read = storage.read("a").unwrap();
                assert_eq!(read.map(|bytes| bytes.len()), Some(long.len()));
            }
        });
    }

    #[test]
    fn a_failed_write_keeps_the_old_file_and_leaves_nothing_behind() {
        let (_folder, storage) = storage();
        storage.write("a/kept", b"old").unwrap();
        // A folder cannot be replaced by a file.
        storage.write("a", b"new").unwrap_err();
        assert_eq!(
            storage.read("a/kept").unwrap().as_deref(),
            Some(&b"old"[..])
        );
        assert_eq!(fs::read_dir(storage.path("")).unwrap().count(), 1);
    }

    #[test]
    fn one_has_the_lock_at_a_time() {
        let (_folder, storage) = storage();
        let first = storage.try_lock("a").unwrap();
        assert!(first.is_some());
        assert!(storage.try_lock("a").unwrap().is_none());
        assert!(storage.try_lock("b").unwrap().is_some());
        drop(first);
        assert!(storage.try_lock("a").unwrap().is_some());
    }

    #[test]
    fn only_what_is_old_is_swept() {
        let (_folder, storage) = storage();
        storage.write("challenges/a", b"").unwrap();
        storage.sweep("challenges", Duration::from_secs(60));
        assert!(storage.read("challenges/a").unwrap().is_some());
        storage.sweep("challenges", Duration::ZERO);
        assert!(storage.read("challenges/a").unwrap().is_none());
    }
}
