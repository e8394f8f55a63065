//! The folder that an edge lives in.

use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::UpError;

/// The folder, held by a lock while this lives.
pub(super) struct Folder {
    root: PathBuf,
    _lock: File,
}

/// The configurations of a new folder.
const CONFIGURATIONS: [(&str, &str); 5] = [
    ("dns.toml", include_str!("../../conf/dns.toml")),
    ("gateway.toml", include_str!("../../conf/gateway.toml")),
    (L4, include_str!("../../conf/l4.toml")),
    ("users.toml", include_str!("../../conf/users.toml")),
    (
        "users-servers.toml",
        include_str!("../../conf/users-servers.toml"),
    ),
];

const L4: &str = "l4.toml";
/// The key of a listener that takes PROXY headers.
const HEADER: &str = "proxy_protocol";

impl Folder {
    /// Makes what is missing, and takes the lock.
    pub(super) fn open(dir: &Path) -> Result<Self, UpError> {
        let failed = |path: &Path| {
            let path = path.display().to_string();
            move |error| UpError::File(path, error)
        };
        for part in ["", "conf", "data", "run", "tls"] {
            let path = dir.join(part);
            let mut builder = fs::DirBuilder::new();
            builder.recursive(true).mode(0o700);
            builder.create(&path).map_err(failed(&path))?;
        }
        let root = dir.canonicalize().map_err(failed(dir))?;
        let lock_path = root.join("run/lock");
        let lock = File::create(&lock_path).map_err(failed(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(UpError::Locked(root)),
            Err(TryLockError::Error(error)) => return Err(failed(&lock_path)(error)),
        }
        let folder = Self { root, _lock: lock };
        let gateway = fs::read_to_string(folder.path("conf/gateway.toml"));
        for (name, text) in CONFIGURATIONS {
            let path = folder.path("conf").join(name);
            if !path.exists() {
                // There the folder is one up.
                let mut text = text.replace("../.tidegate", "..");
                if name == L4 && gateway.as_ref().is_ok_and(|own| !own.contains(HEADER)) {
                    // Of a gateway from before there was a balancer here: it does not understand the header.
                    text = text.replace("proxy_protocol = \"v2\"\n", "");
                }
                fs::write(&path, text).map_err(failed(&path))?;
            }
        }
        Ok(folder)
    }

    /// The folder itself, absolute.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// A path in the folder, absolute.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Writes a file as a whole, readable by this user only.
    pub(super) fn write_private(&self, name: &str, text: &str) -> Result<(), UpError> {
        let path = self.path(name);
        let unfinished = path.with_extension("tmp");
        let write = || {
            let mut options = fs::OpenOptions::new();
            let mut file = options
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&unfinished)?;
            file.write_all(text.as_bytes())?;
            fs::rename(&unfinished, &path)
        };
        write().map_err(|error| UpError::File(path.display().to_string(), error))
    }
}
