//! The binary under test.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Where the binary is: `TIDEGATE_BIN`, or beside the test executable.
///
/// # Panics
/// When it was not built.
pub fn path() -> PathBuf {
    let path = match std::env::var_os("TIDEGATE_BIN") {
        Some(path) => PathBuf::from(path),
        None => beside_this_executable(),
    };
    assert!(
        path.is_file(),
        "there is no {}: run cargo build first",
        path.display()
    );
    path
}

fn beside_this_executable() -> PathBuf {
    let this = std::env::current_exe().expect("a test is an executable file");
    let is_profile = |folder: &&Path| {
        let name = folder.file_name().and_then(OsStr::to_str);
        matches!(name, Some("debug" | "release"))
    };
    let folder = this.ancestors().find(is_profile);
    folder
        .expect("cargo puts tests below `debug` or `release`")
        .join("tidegate")
}

/// The root of the repository.
pub fn repository() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent()
        .expect("this crate is a folder of the repository")
        .to_owned()
}

/// Runs a command of the binary to its end, in a folder.
///
/// # Panics
/// When it cannot be started.
pub fn run<A: AsRef<OsStr>>(folder: &Path, args: &[A]) -> Output {
    let mut command = Command::new(path());
    command.args(args).current_dir(folder);
    command.output().expect("the binary can be started")
}
