//! Files that configurations name, and files that are replaced as a whole, in folders that another user may own.
//!
//! A file that is read is a regular one: to wait for whoever writes into a pipe would be to wait for ever.
//!
//! A new file is written beside, synced, and renamed, and the folder is synced: whoever reads sees the old one or the new
//! one, also after a crash. Every writer has a file of its own beside. All is done within one opened folder and follows no
//! link in it: a command that runs as root may work in the folder of a user who is not to be trusted with other files.

use std::ffi::OsStr;
use std::fs::{DirBuilder, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, fchown};
use std::path::Path;
use std::time::{Duration, SystemTime};

use ring::rand::{SecureRandom, SystemRandom};
use rustix::fs::{
    AtFlags, Dir, Mode, OFlags, fcntl_getfl, fcntl_setfl, openat, renameat, statat, unlinkat,
};
use rustix::io::Errno;

/// A folder that is open: it stays the same one, whatever becomes of its path.
#[derive(Debug)]
pub struct Folder {
    handle: File,
}

impl Folder {
    /// Opens a folder.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let handle = rustix::fs::open(path, flags, Mode::empty())?;
        Ok(Self {
            handle: handle.into(),
        })
    }

    /// Opens a folder, and makes it, for its owner alone, if it is missing.
    ///
    /// # Errors
    /// When it cannot be made or read.
    pub fn make(path: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        Self::open(path)
    }

    /// Its owner, mode and times.
    ///
    /// # Errors
    /// Those of the system.
    pub fn metadata(&self) -> io::Result<Metadata> {
        self.handle.metadata()
    }

    /// Opens a file of the folder for reading.
    ///
    /// # Errors
    /// When there is none, and when it is a link, has several names, or is no regular file.
    pub fn read(&self, name: &OsStr) -> io::Result<File> {
        self.open_regular(name, OFlags::RDONLY, 0)
    }

    /// Opens a file of the folder for writing as it is, and makes it with `mode` if it is missing.
    ///
    /// # Errors
    /// When it cannot be opened, and when it is a link, has several names, or is no regular file.
    pub fn keep(&self, name: &OsStr, mode: u32) -> io::Result<File> {
        self.open_regular(name, OFlags::WRONLY | OFlags::CREATE, mode)
    }

    /// Replaces a file by one of `mode`, less the umask, that `write` fills.
    ///
    /// # Errors
    /// When it cannot be written; then the old one is still there. When only the folder cannot be synced, the new one is
    /// there, but may not outlive a loss of power.
    pub fn replace(
        &self,
        name: &OsStr,
        mode: u32,
        write: impl FnOnce(&File) -> io::Result<()>,
    ) -> io::Result<()> {
        let beside = beside()?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        let file = self.open_regular(OsStr::new(&beside), flags, mode)?;
        let written = write(&file).and_then(|()| {
            file.sync_all()?;
            Ok(renameat(&self.handle, &*beside, &self.handle, name)?)
        });
        if written.is_err() {
            // What failed before says more.
            let _ = unlinkat(&self.handle, &*beside, AtFlags::empty());
        }
        written?;
        self.handle.sync_all()
    }

    /// Gives a file to the owner of the folder, as a command of root does for the server.
    ///
    /// # Errors
    /// When this process may not.
    pub fn give(&self, file: &File) -> io::Result<()> {
        let (folder, mine) = (self.metadata()?, file.metadata()?);
        if folder.uid() == mine.uid() {
            return Ok(());
        }
        fchown(file, Some(folder.uid()), Some(folder.gid()))
    }

    /// Removes what writers that were killed have left: files beside that nobody has written to for an hour.
    ///
    /// # Errors
    /// When the folder cannot be read. What cannot be removed stays.
    pub fn sweep(&self) -> io::Result<()> {
        let before = SystemTime::now() - LEFT;
        let before = before.duration_since(SystemTime::UNIX_EPOCH);
        let before = before.map_or(0, |since| since.as_secs() as i64);
        for entry in Dir::read_from(&self.handle)? {
            let entry = entry?;
            let name = entry.file_name();
            if !name.to_bytes().starts_with(BESIDE.as_bytes()) {
                continue;
            }
            let found = statat(&self.handle, name, AtFlags::SYMLINK_NOFOLLOW);
            if found.is_ok_and(|found| found.st_mtime < before) {
                let _ = unlinkat(&self.handle, name, AtFlags::empty());
            }
        }
        Ok(())
    }

    fn open_regular(&self, name: &OsStr, flags: OFlags, mode: u32) -> io::Result<File> {
        // A pipe is not waited for.
        let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = match openat(&self.handle, name, flags, Mode::from_raw_mode(mode)) {
            Ok(file) => File::from(file),
            Err(Errno::LOOP | Errno::NXIO) => return Err(irregular(name)),
            Err(error) => return Err(error.into()),
        };
        let found = file.metadata()?;
        match found.is_file() && found.nlink() == 1 {
            true => Ok(file),
            false => Err(irregular(name)),
        }
    }
}

/// Opens a regular file for reading, or one that a link leads to. It waits for nobody.
///
/// # Errors
/// When there is none, it may not be read, or it is a folder, a pipe, a device or a socket.
pub fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        // A socket.
        Err(Errno::NXIO) => return Err(not_regular()),
        Err(error) => return Err(error.into()),
    };
    let found = file.metadata()?;
    if found.is_dir() {
        return Err(Errno::ISDIR.into());
    }
    match found.is_file() {
        true => Ok(file),
        false => Err(not_regular()),
    }
}

/// What is in a regular file.
///
/// # Errors
/// As of [`open`], and when it cannot be read.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The text in a regular file.
///
/// # Errors
/// As of [`read`], and when it is not UTF-8.
pub fn read_text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    open(path)?.read_to_string(&mut text)?;
    Ok(text)
}

/// Opens a file, a device or a pipe to be written to at its end, and makes a file, less the umask, where there is nothing.
///
/// # Errors
/// When it cannot be written to, and when it is a pipe that nobody reads.
pub fn append(path: &Path) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND;
    // Whoever may read a pipe one day is not waited for.
    let flags = flags | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = match rustix::fs::open(path, flags, Mode::from_raw_mode(0o666)) {
        Ok(file) => File::from(file),
        Err(Errno::NXIO) => {
            let why = "it is a pipe that nobody reads, or a socket";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        Err(error) => return Err(error.into()),
    };
    // Who writes there waits for whoever reads.
    fcntl_setfl(&file, fcntl_getfl(&file)? - OFlags::NONBLOCK)?;
    Ok(file)
}

/// Replaces the file at a path, as [`Folder::replace`] does, and removes what was left in its folder. Not for folders of
/// many files: all their names are read.
///
/// # Errors
/// As there, and when the path has no folder or names no file.
pub fn replace(
    path: &Path,
    mode: u32,
    write: impl FnOnce(&File) -> io::Result<()>,
) -> io::Result<()> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let folder = Folder::open(folder_of(path))?;
    // What stays does no harm.
    let _ = folder.sweep();
    folder.replace(name, mode, write)
}

/// The folder that a file is in.
pub fn folder_of(path: &Path) -> &Path {
    let folder = path.parent().filter(|path| !path.as_os_str().is_empty());
    folder.unwrap_or(Path::new("."))
}

/// How the names of files beside begin. They have nothing of the name of the file, which may be as long as names can be.
const BESIDE: &str = ".tidegate.new.";
/// After so long without a change, a file beside was left.
const LEFT: Duration = Duration::from_secs(60 * 60);

/// A name that nobody else has, also in another container with the same folder.
fn beside() -> io::Result<String> {
    let mut random = [0; 8];
    let filled = SystemRandom::new().fill(&mut random);
    filled.map_err(|_| io::Error::other("the system has no random numbers"))?;
    Ok(format!("{BESIDE}{:016x}", u64::from_ne_bytes(random)))
}

fn not_regular() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file")
}

fn irregular(name: &OsStr) -> io::Error {
    let name = name.display();
    let why = format!("`{name}` is a link, has several names, or is no regular file");
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use rustix::fs::mkfifoat;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name();
        let mut names: Vec<_> = entries.map(name).collect();
        names.sort();
        names
            .into_iter()
            .map(|n| n.into_string().unwrap())
            .collect()
    }

    #[test]
    fn whoever_reads_or_appends_waits_for_no_pipe() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        mkfifoat(rustix::fs::CWD, &pipe, Mode::from_raw_mode(0o600)).unwrap();
        let refused = |path: &Path| read_text(path).unwrap_err().to_string();
        assert_eq!(refused(&pipe), "it is no regular file");
        assert_eq!(refused(Path::new("/dev/zero")), "it is no regular file");
        assert_eq!(
            read(folder.path()).unwrap_err().kind(),
            io::ErrorKind::IsADirectory
        );
        let error = append(&pipe).unwrap_err().to_string();
        assert!(error.contains("nobody reads"), "{error}");
        let reader = rustix::fs::open(&pipe, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty());
        let mut reader = File::from(reader.unwrap());
        writeln!(append(&pipe).unwrap(), "a line").unwrap();
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "a line\n");
        assert!(append(Path::new("/dev/null")).is_ok());
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        writeln!(append(&file).unwrap(), "one").unwrap();
        writeln!(append(&file).unwrap(), "two").unwrap();
        symlink(&file, &link).unwrap();
        assert_eq!(read_text(&link).unwrap(), "one\ntwo\n");
    }

    #[test]
    fn a_file_is_replaced_or_stays_and_nothing_is_left_beside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        for text in ["one", "two"] {
            replace(&path, 0o600, |mut file| file.write_all(text.as_bytes())).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let failed = replace(&path, 0o600, |mut file| {
            file.write_all(b"thr")?;
            Err(io::ErrorKind::StorageFull.into())
        });
        assert_eq!(failed.unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(fs::read_to_string(&path).unwrap(), "two");
        assert_eq!(names(folder.path()), ["a"]);
    }

    #[test]
    fn two_writers_do_not_write_to_one_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        replace(&path, 0o600, |mut first| {
            first.write_all(b"fir")?;
            replace(&path, 0o600, |mut second| second.write_all(b"second"))?;
            assert_eq!(fs::read_to_string(&path)?, "second");
            first.write_all(b"st")
        })
        .unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "first");
        assert_eq!(names(folder.path()), ["a"]);
    }

    #[test]
    fn links_are_replaced_and_neither_followed_nor_opened() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("other"), "theirs").unwrap();
        symlink(at("other"), at("soft")).unwrap();
        let opened = Folder::open(folder.path()).unwrap();
        for name in ["soft", "."] {
            opened.keep(OsStr::new(name), 0o600).unwrap_err();
        }
        let told = opened.read(OsStr::new("soft")).unwrap_err().to_string();
        assert!(told.starts_with("`soft` is a link"), "{told}");
        replace(&at("soft"), 0o600, |mut file| file.write_all(b"mine")).unwrap();
        assert!(fs::symlink_metadata(at("soft")).unwrap().is_file());
        fs::hard_link(at("other"), at("hard")).unwrap();
        let told = opened.keep(OsStr::new("hard"), 0o600).unwrap_err();
        assert_eq!(told.kind(), io::ErrorKind::InvalidInput);
        assert_eq!(fs::read_to_string(at("other")).unwrap(), "theirs");
    }

    #[test]
    fn what_killed_writers_have_left_goes_and_what_is_being_written_stays() {
        let folder = tempfile::tempdir().unwrap();
        let long_ago = SystemTime::now() - LEFT * 2;
        for name in [".tidegate.new.1", ".tidegate.new.2", "a"] {
            let file = File::create(folder.path().join(name)).unwrap();
            if name != ".tidegate.new.2" {
                file.set_modified(long_ago).unwrap();
            }
        }
        Folder::open(folder.path()).unwrap().sweep().unwrap();
        assert_eq!(names(folder.path()), [".tidegate.new.2", "a"]);
    }
}
