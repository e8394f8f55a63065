//! Where the kernel keeps the program and its maps: a folder of the BPF file system.
//!
//! ```text
//! PINS/link-IFINDEX-native     the program on an interface: removed, it is detached
//! PINS/maps-LAYOUT-FLOWS/...   the maps of the program
//! ```

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, mkdirat, statfs};
use rustix::mount::{MountFlags, mount};

use super::{Attach, DrError};

/// `BPF_FS_MAGIC`.
const BPF: u64 = 0xCAFE_4A11;

/// Where the BPF file system is by custom.
const CUSTOMARY: &str = "/sys/fs/bpf";

/// The folder, while it is this process's.
#[derive(Debug)]
pub(super) struct Pins {
    folder: PathBuf,
    /// Locked as long as it is open; the kernel lets go of it when the process ends, however that happens.
    _lock: File,
}

impl Pins {
    /// Makes the folder, and the file system where it is missing, and takes it for this process.
    ///
    /// # Errors
    /// When that is not possible, or another process has it: [`DrError::Taken`].
    pub(super) fn take(folder: &Path) -> Result<Self, DrError> {
        prepare(folder).map_err(|error| DrError::Mount {
            folder: folder.into(),
            error,
        })?;
        let trouble = |error| DrError::Folder {
            folder: folder.into(),
            error,
        };
        let lock = File::open(folder).map_err(trouble)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self {
                folder: folder.into(),
                _lock: lock,
            }),
            Err(TryLockError::WouldBlock) => Err(DrError::Taken(folder.into())),
            Err(TryLockError::Error(error)) => Err(trouble(error)),
        }
    }

    /// The folder for maps of this layout; made if need be.
    pub(super) fn maps(&self, layout: &str) -> Result<PathBuf, DrError> {
        let folder = self.folder.join(layout);
        make(&folder).map_err(|error| DrError::Folder {
            folder: folder.clone(),
            error,
        })?;
        Ok(folder)
    }

    /// Forgets maps of other layouts: no attached program uses them.
    pub(super) fn forget_other_maps(&self, layout: &str) -> io::Result<()> {
        for entry in entries(&self.folder)? {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with("maps-") && name != layout {
                remove(&entry.path())?;
            }
        }
        Ok(())
    }

    /// Where the program's place on an interface is kept.
    pub(super) fn link(&self, ifindex: u32, native: bool) -> PathBuf {
        let kind = if native {
            Attach::Native
        } else {
            Attach::Generic
        };
        self.folder.join(format!("link-{ifindex}-{}", kind.name()))
    }

    /// Detaches the program from all interfaces but these.
    pub(super) fn detach_others(&self, interfaces: &[u32]) -> io::Result<()> {
        for entry in entries(&self.folder)? {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let Some(rest) = name.strip_prefix("link-") else {
                continue;
            };
            let ifindex = rest
                .split('-')
                .next()
                .and_then(|number| number.parse().ok());
            if ifindex.is_none_or(|ifindex| !interfaces.contains(&ifindex)) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// Removes the program from the kernel with all that it knows.
    pub(super) fn remove(self) -> io::Result<()> {
        remove_all(&self.folder)
    }
}

/// Removes what a process has left in the kernel: from then on nothing is forwarded. Whether there was anything.
///
/// # Errors
/// When it cannot be removed, or a process that runs has it: [`DrError::Taken`].
pub fn flush(folder: &Path) -> Result<bool, DrError> {
    if !folder.exists() {
        return Ok(false);
    }
    let trouble = |error| DrError::Folder {
        folder: folder.into(),
        error,
    };
    let lock = File::open(folder).map_err(trouble)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(DrError::Taken(folder.into())),
        Err(TryLockError::Error(error)) => return Err(trouble(error)),
    }
    remove_all(folder).map_err(trouble)?;
    Ok(true)
}

fn remove_all(folder: &Path) -> io::Result<()> {
    // Links first: a program without maps cannot be, but its counters are to stay as long as it works.
    for prefix in ["link-", "maps-"] {
        for entry in entries(folder)? {
            if entry.file_name().to_string_lossy().starts_with(prefix) {
                remove(&entry.path())?;
            }
        }
    }
    // Another's file in it keeps the folder.
    let _ = fs::remove_dir(folder);
    Ok(())
}

/// Removes a file, or a folder with its files.
fn remove(path: &Path) -> io::Result<()> {
    if !path.is_dir() {
        return fs::remove_file(path);
    }
    for entry in entries(path)? {
        fs::remove_file(entry.path())?;
    }
    fs::remove_dir(path)
}

fn entries(folder: &Path) -> io::Result<Vec<fs::DirEntry>> {
    fs::read_dir(folder)?.collect()
}

/// Makes the folder, and mounts the file system where it is by custom if it is not there.
fn prepare(folder: &Path) -> io::Result<()> {
    if folder.starts_with(CUSTOMARY) && !is_bpf(Path::new(CUSTOMARY))? {
        mount("bpf", CUSTOMARY, "bpf", MountFlags::empty(), None)?;
    }
    let above = folder.ancestors().find(|folder| folder.exists());
    if !above.is_some_and(|above| is_bpf(above).unwrap_or(false)) {
        return Err(io::Error::other("a file system of another kind is there"));
    }
    make(folder)
}

fn is_bpf(folder: &Path) -> io::Result<bool> {
    Ok(statfs(folder)?.f_type as u64 == BPF)
}

/// Makes a folder and those above it, for root alone.
fn make(folder: &Path) -> io::Result<()> {
    if folder.exists() {
        return Ok(());
    }
    if let Some(above) = folder.parent() {
        make(above)?;
    }
    match mkdirat(CWD, folder, Mode::RWXU) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
