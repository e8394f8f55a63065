//! Ctrl-C: the temporary folder goes, with its logs. The processes end with this one by themselves.

use std::path::PathBuf;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

/// The exit status of a program that Ctrl-C has ended, as shells have it.
const INTERRUPTED: i32 = 130;

/// Removes the folder and ends this process on SIGINT and SIGTERM.
pub(crate) fn remove_on_interrupt(folder: PathBuf) {
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let Ok(runtime) = runtime else {
            return; // the kernel's own way to end a process remains
        };
        runtime.block_on(async {
            let signals = [SignalKind::interrupt(), SignalKind::terminate()].map(signal);
            let [Ok(mut interrupt), Ok(mut terminate)] = signals else {
                return;
            };
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            std::thread::sleep(Duration::from_millis(300)); // proxies that had the signal too end
            let _ = std::fs::remove_dir_all(folder); // it is a temporary one
            std::process::exit(INTERRUPTED);
        });
    });
}
