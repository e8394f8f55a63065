//! Sockets from systemd: `LISTEN_PID`, `LISTEN_FDS` and `LISTEN_FDNAMES` (`sd_listen_fds(3)`).

use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use super::inherited::{Inherited, InheritedSocket, Source};

/// What systemd has passed to this process.
#[allow(
    unsafe_code,
    reason = "descriptors come as numbers, and the environment is global"
)]
pub(super) fn sockets() -> Inherited {
    let wanted = std::env::var("LISTEN_PID").ok();
    if wanted != Some(std::process::id().to_string()) {
        return Inherited::default();
    }
    // SAFETY: our caller promises that the process has one thread; so nobody reads the environment
    // while it changes.
    let passed = match unsafe { sd_notify::listen_fds_with_names_and_unset_env() } {
        Ok(passed) => passed,
        Err(error) => {
            eprintln!("the sockets that systemd passed are not understood: {error}");
            return Inherited::default();
        }
    };
    let adopt = |(number, name): (RawFd, String)| {
        // SAFETY: by the protocol the descriptors from 3 on are ours; that they are for this very
        // process id has been checked, and the variables are gone, so nobody adopts them again.
        let socket = unsafe { OwnedFd::from_raw_fd(number) };
        InheritedSocket::new(&*name, None, socket, Source::Systemd, false)
            .inspect_err(|error| {
                eprintln!("systemd passed `{name}` (descriptor {number}): {error}")
            })
            .ok()
    };
    passed.filter_map(adopt).collect()
}
