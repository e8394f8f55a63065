//! A role that a supervisor started must not outlive it, even when it is killed.

use rustix::process::{Signal, getppid, set_parent_process_death_signal};

/// The environment variable with the process id of the supervisor.
pub const SUPERVISOR: &str = "TIDEGATE_SUPERVISOR";

/// Asks the kernel for SIGTERM when the supervisor's thread that started this process ends.
///
/// Does nothing without a supervisor. To be called first in `main`.
pub fn die_with_parent() {
    let Ok(supervisor) = std::env::var(SUPERVISOR) else {
        return;
    };
    let asked = set_parent_process_death_signal(Some(Signal::TERM));
    let parent = getppid().map(|parent| parent.as_raw_nonzero().get().to_string());
    // It may have died before we asked.
    if asked.is_err() || parent.as_deref() != Some(&*supervisor) {
        eprintln!("the supervisor {supervisor} is gone");
        std::process::exit(1);
    }
}
