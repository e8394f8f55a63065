//! The process's limit of open files.

use std::io;

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit of open files as far as this process may: every connection needs one.
///
/// Returns the limit; none when there is no limit.
pub fn raise_descriptor_limit() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return current;
    }
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => maximum,
        Err(_) => current,
    }
}

/// How many descriptors this process has open; none when /proc does not tell.
pub fn open_descriptors() -> Option<usize> {
    // One of them is that of the folder itself.
    let open = std::fs::read_dir("/proc/self/fd").ok()?.count();
    Some(open.saturating_sub(1))
}

/// How many descriptors this process may have open; none when there is no limit.
pub fn descriptor_limit() -> Option<usize> {
    usize::try_from(getrlimit(Resource::Nofile).current?).ok()
}

/// How many connections of clients fit into the limit of open files, so that enough is left for
/// health checks, the admin listener and files: an eighth, at least 32; none when there is no limit.
pub fn room_for_clients() -> Option<usize> {
    let limit = descriptor_limit()?;
    Some(limit - (limit / 8).max(32).min(limit / 2))
}

/// Whether an `accept` failed because the process or the machine has no descriptor or memory
/// left, so that it would fail again at once.
pub fn is_exhaustion(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(
        errno,
        Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)
    )
}
