//! The files that keep keys: one for each zone, with what each key is at.
//!
//! A file is replaced as a whole ([`chassis::files`]). Several processes may use the folder, as two do during a hand-over: a
//! lock of the kernel, which ends with its holder, says who may change a file. A command of root may be one of them, in a
//! folder of the server's user: what it opens to write, or to write again elsewhere, is no link.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::iter;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use chassis::files;
use serde::{Deserialize, Serialize};

use super::roll::Ring;
use crate::zone::{Name, file_name};

/// The folder of all key files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Folder(PathBuf);

/// Held by the one who may change files; ends when it is dropped, or with the process.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
    folder: files::Folder,
}

/// A file as it is now; none when there is none.
pub(crate) type Mark = Option<(u64, i64, i64)>;

/// A key file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {why}", .path.display())]
pub(crate) struct FileError {
    path: PathBuf,
    why: String,
    is_read_only: bool,
}

impl FileError {
    /// Whether this process may not write there, or nobody may; what is there can serve.
    pub(crate) fn is_read_only(&self) -> bool {
        self.is_read_only
    }
}

/// What a file holds.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written<'a> {
    version: u32,
    zone: String,
    ring: std::borrow::Cow<'a, Ring>,
}

const VERSION: u32 = 1;
/// The file whose lock it is.
const LOCK: &str = ".lock";
/// Of a folder before the first start.
const NOT_MADE: &str =
    "there is no such folder yet: start the server once, which makes it and the keys";
/// More than any zone's keys need.
const LARGEST: u64 = 1 << 20;

impl Folder {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// Judges the folder as who takes the lock does, and makes nothing: a folder that is missing will be made.
    ///
    /// # Errors
    /// When it is none, or others may write there. Not when this process may not look there: keys may serve all the same.
    pub(crate) fn look(&self) -> Result<(), FileError> {
        let looked = || {
            let folder = files::Folder::open(&self.0)?;
            judge(&folder)?;
            folder.read(OsStr::new(LOCK)).map(drop)
        };
        match looked() {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => match wrong(&self.0, &error) {
                error if error.is_read_only() => Ok(()),
                error => Err(error),
            },
            Ok(()) => Ok(()),
        }
    }

    /// Makes the folder if it is missing, and takes the lock.
    ///
    /// # Errors
    /// When it cannot be made, or others may write there.
    pub(crate) fn lock(&self) -> Result<Lock, FileError> {
        self.lock_in(files::Folder::make(&self.0))
    }

    /// The same, of somebody else than the server, whose folder it would not be: then it is not made.
    ///
    /// # Errors
    /// As there, and when there is no folder.
    pub(crate) fn lock_existing(&self) -> Result<Lock, FileError> {
        let opened = files::Folder::open(&self.0);
        self.lock_in(opened.map_err(|error| match error.kind() {
            ErrorKind::NotFound => io::Error::new(error.kind(), NOT_MADE),
            _ => error,
        }))
    }

    fn lock_in(&self, folder: io::Result<files::Folder>) -> Result<Lock, FileError> {
        let taken = || {
            let folder = folder?;
            judge(&folder)?;
            let file = folder.keep(OsStr::new(LOCK), 0o600)?;
            folder.give(&file)?;
            file.lock()?;
            Ok(Lock {
                _file: file,
                folder,
            })
        };
        taken().map_err(|error| wrong(&self.0, &error))
    }

    /// The keys of a zone; none when there is no file yet.
    ///
    /// # Errors
    /// When the file cannot be read, others may read it, or it is not what was written.
    pub(crate) fn read(&self, zone: &Name) -> Result<Option<Ring>, FileError> {
        let path = self.path(zone);
        read(files::open(&path), zone).map_err(|error| wrong(&path, &error))
    }

    /// The same, of somebody who writes them again. They are in this folder: root does not take them from elsewhere for
    /// whoever owns it.
    ///
    /// # Errors
    /// As there, and when the file is a link.
    pub(crate) fn read_to_change(
        &self,
        zone: &Name,
        lock: &Lock,
    ) -> Result<Option<Ring>, FileError> {
        let path = self.path(zone);
        let file = lock.folder.read(name(&path));
        read(file, zone).map_err(|error| wrong(&path, &error))
    }

    /// Replaces the file of a zone. The lock shows that nobody else does.
    ///
    /// # Errors
    /// When it cannot be written; then the old one is still there.
    pub(crate) fn write(&self, zone: &Name, ring: &Ring, lock: &Lock) -> Result<(), FileError> {
        let path = self.path(zone);
        let written = || -> io::Result<()> {
            let text = serde_json::to_vec_pretty(&Written {
                version: VERSION,
                zone: zone.to_string(),
                ring: std::borrow::Cow::Borrowed(ring),
            })?;
            // What stays does no harm.
            let _ = lock.folder.sweep();
            lock.folder.replace(name(&path), 0o600, |mut file| {
                lock.folder.give(file)?;
                file.write_all(&text)
            })
        };
        written().map_err(|error| wrong(&path, &error))
    }

    /// When a file was last replaced or added; none when there is no folder.
    pub(crate) fn changed(&self) -> Option<std::time::SystemTime> {
        fs::metadata(&self.0).ok()?.modified().ok()
    }

    /// What changes when the files of these zones, or the folder, get other contents, owners or modes.
    pub(crate) fn marks<'a>(&self, zones: impl Iterator<Item = &'a Name>) -> Vec<Mark> {
        let files = zones.map(|zone| self.path(zone));
        let mark = |path: &Path| {
            let found = fs::metadata(path).ok()?;
            Some((found.ino(), found.ctime(), found.ctime_nsec()))
        };
        iter::once(mark(&self.0))
            .chain(files.map(|path| mark(&path)))
            .collect()
    }

    /// Where the keys of a zone are.
    pub(crate) fn path(&self, zone: &Name) -> PathBuf {
        let mut file = String::new();
        for byte in zone.to_string().bytes() {
            match byte {
                b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' => file.push(char::from(byte)),
                other => file += &format!("%{other:02x}"),
            }
        }
        self.0.join(file_name(&file, "keys.json"))
    }
}

fn judge(folder: &files::Folder) -> io::Result<()> {
    let mode = folder.metadata()?.permissions().mode() & 0o7777;
    match mode & 0o022 {
        0 => Ok(()),
        _ => {
            let why = format!("others may write to this folder (mode {mode:04o})");
            Err(io::Error::new(ErrorKind::PermissionDenied, why))
        }
    }
}

fn name(path: &Path) -> &OsStr {
    path.file_name().expect("a path of `Folder::path`")
}

fn read(file: io::Result<File>, zone: &Name) -> io::Result<Option<Ring>> {
    let file = match file {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mode = file.metadata()?.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        let why = format!("others may read these keys (mode {mode:04o}): make it 0600");
        return Err(io::Error::new(ErrorKind::PermissionDenied, why));
    }
    let mut text = String::new();
    file.take(LARGEST).read_to_string(&mut text)?;
    parse(&text, zone).map(Some).map_err(io::Error::other)
}

fn parse(text: &str, zone: &Name) -> Result<Ring, String> {
    // Its text is not in the message: it is secret.
    let written: Written<'_> = serde_json::from_str(text).map_err(|error| {
        format!(
            "not a file of keys: line {}, column {}",
            error.line(),
            error.column()
        )
    })?;
    if written.version != VERSION {
        return Err(format!("version {} is not known here", written.version));
    }
    if written.zone != zone.to_string() {
        return Err(format!("these are the keys of `{}`", written.zone));
    }
    Ok(written.ring.into_owned())
}

fn wrong(path: &Path, error: &io::Error) -> FileError {
    FileError {
        path: path.to_owned(),
        why: error.to_string(),
        // Of the system: what this module denies has no number.
        is_read_only: matches!(error.raw_os_error(), Some(libc::EACCES | libc::EROFS)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::super::key::Algorithm;
    use super::*;

    #[test]
    fn files_are_for_nobody_else_and_what_is_broken_is_told_without_secrets() {
        let folder = tempfile::tempdir().unwrap();
        let keys = Folder::new(folder.path().join("keys"));
        let zone = Name::from_text("a/b.example").unwrap();
        assert_eq!(keys.read(&zone).unwrap(), None);
        let lock = keys.lock().unwrap();
        let ring = Ring::new(Algorithm::Ed25519, 7);
        keys.write(&zone, &ring, &lock).unwrap();
        assert_eq!(keys.read(&zone).unwrap(), Some(ring));
        let path = keys.path(&zone);
        assert_eq!(path.file_name().unwrap(), "a%2fb.example.keys.json");
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        let told = |text: Option<&str>, mode| {
            if let Some(text) = text {
                fs::write(&path, text).unwrap();
            }
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            keys.read(&zone).unwrap_err().to_string()
        };
        assert!(told(None, 0o640).contains("others may read these keys (mode 0640)"));
        let text = fs::read_to_string(&path).unwrap();
        let other = told(Some(&text.replace("a/b", "c")), 0o600);
        assert!(
            other.ends_with("these are the keys of `c.example.`"),
            "{other}"
        );
        let newer = told(
            Some(&text.replace("\"version\": 1", "\"version\": 2")),
            0o600,
        );
        assert!(newer.ends_with("version 2 is not known here"), "{newer}");
        let broken = told(
            Some(&text.replace("\"keys\": []", "\"keys\": [\"c2VjcmV0\"]")),
            0o600,
        );
        assert!(broken.contains("not a file of keys: line"), "{broken}");
        assert!(!broken.contains("c2VjcmV0"), "{broken}");
        fs::set_permissions(
            folder.path().join("keys"),
            fs::Permissions::from_mode(0o777),
        )
        .unwrap();
        let open = keys.lock().unwrap_err();
        assert!(!open.is_read_only());
        let open = open.to_string();
        assert!(open.contains("others may write to this folder"), "{open}");
    }

    #[test]
    fn a_zone_with_the_longest_name_has_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let keys = Folder::new(folder.path().join("keys"));
        let label = "x".repeat(61);
        let zone = Name::from_text(&format!("{label}.{label}.{label}.{label}")).unwrap();
        let ring = Ring::new(Algorithm::Ed25519, 7);
        keys.write(&zone, &ring, &keys.lock().unwrap()).unwrap();
        assert_eq!(keys.read(&zone).unwrap(), Some(ring));
    }

    /// As the server's user would, to have root change files elsewhere.
    #[test]
    fn links_in_the_folder_lead_nowhere() {
        let folder = tempfile::tempdir().unwrap();
        let theirs = folder.path().join("theirs");
        fs::write(&theirs, "theirs").unwrap();
        fs::set_permissions(&theirs, fs::Permissions::from_mode(0o644)).unwrap();
        let keys = Folder::new(folder.path().join("keys"));
        let zone = Name::from_text("example").unwrap();
        let ring = Ring::new(Algorithm::Ed25519, 7);
        let lock = keys.lock().unwrap();
        symlink(&theirs, keys.path(&zone).with_added_extension("new")).unwrap();
        keys.write(&zone, &ring, &lock).unwrap();
        assert_eq!(keys.read_to_change(&zone, &lock).unwrap(), Some(ring));
        fs::rename(keys.path(&zone), folder.path().join("elsewhere")).unwrap();
        symlink(folder.path().join("elsewhere"), keys.path(&zone)).unwrap();
        let refused = keys.read_to_change(&zone, &lock).unwrap_err().to_string();
        assert!(refused.contains("is a link"), "{refused}");
        drop(lock);
        let lock = folder.path().join("keys/.lock");
        for link in [symlink::<&Path, &Path>, |from, to| fs::hard_link(from, to)] {
            fs::remove_file(&lock).unwrap();
            link(&theirs, &lock).unwrap();
            let refused = keys.lock().unwrap_err().to_string();
            assert!(refused.contains("is a link"), "{refused}");
        }
        assert_eq!(fs::read_to_string(&theirs).unwrap(), "theirs");
        let mode = fs::metadata(&theirs).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o644, "nor did it get the mode of keys");
    }
}
