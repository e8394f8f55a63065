//! The file of a Unix socket: replaced when it is stale, removed when it is ours.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};

use super::FileMode;

/// The file of a Unix socket that this process answers for.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    /// Device and inode: another process may have put its own socket there meanwhile.
    identity: (u64, u64),
}

impl SocketFile {
    /// The file that is there now.
    pub(super) fn at(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            identity: identity(path)?,
        })
    }

    /// Removes the file, unless it is no longer the one that it was.
    pub(super) fn remove(&self) {
        if identity(&self.path).is_ok_and(|now| now == self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Binds a socket that nobody else listens on; a file that a dead process left is replaced.
pub(super) fn bind(path: &Path, mode: Option<FileMode>) -> io::Result<Socket> {
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            let what = "there is a file of another kind at this path";
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, what));
        }
        Ok(_) => match UnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                fs::remove_file(path)?;
            }
            // A full queue, too, means that somebody is there.
            _ => return Err(io::ErrorKind::AddrInUse.into()),
        },
        Err(_) => {}
    }
    bind_fresh(path, mode)
}

/// Binds a socket in place of whatever is at the path, at one stroke.
pub(super) fn bind_over(path: &Path, mode: FileMode, backlog: i32) -> io::Result<Socket> {
    let aside = path.with_file_name(format!(".tide{}", std::process::id()));
    let _ = fs::remove_file(&aside);
    let bound = bind_fresh(&aside, Some(mode)).and_then(|socket| {
        socket.listen(backlog)?;
        fs::rename(&aside, path)?;
        Ok(socket)
    });
    if bound.is_err() {
        let _ = fs::remove_file(&aside);
    }
    bound
}

/// Until it listens nobody can connect, so the mode is right from the first connection on.
fn bind_fresh(path: &Path, mode: Option<FileMode>) -> io::Result<Socket> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::unix(path)?)?;
    if let Some(mode) = mode {
        set_mode(path, mode)?;
    }
    Ok(socket)
}

/// Changes who may connect.
pub(super) fn set_mode(path: &Path, mode: FileMode) -> io::Result<()> {
    fs::set_permissions(path, Permissions::from_mode(mode.bits()))
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_file_is_replaced_and_a_live_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        let first = bind(&path, Some(FileMode::OWNER)).unwrap();
        first.listen(1).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let error = bind(&path, None).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        drop(first);
        assert!(
            bind(&path, None).is_ok(),
            "the file was left, nobody listens"
        );

        fs::write(folder.path().join("file"), "precious").unwrap();
        assert!(bind(&folder.path().join("file"), None).is_err());
    }

    #[test]
    fn only_the_own_file_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        let _first = bind_over(&path, FileMode::OWNER, 1).unwrap();
        let file = SocketFile::at(&path).unwrap();
        let _second = bind_over(&path, FileMode::OWNER, 1).unwrap();
        file.remove();
        assert!(path.exists(), "it is the second's");
        SocketFile::at(&path).unwrap().remove();
        assert!(!path.exists());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
