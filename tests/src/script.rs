//! Servers and clients that we did not write, driven by the scripts in `tests/clients`.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};

use crate::binary;

/// Debian's Python: the modules come from its packages.
const PYTHON: &str = "/usr/bin/python3";

/// Python with the packages of `tests/clients/requirements.txt`, below the repository.
const PACKAGED: &str = "target/tools/python/bin/python";

/// A server that runs until the end of its test.
#[derive(Debug)]
pub struct Script {
    /// Where it listens.
    pub address: String,
    child: Child,
}

impl Script {
    /// Starts one, which prints where it listens.
    ///
    /// # Panics
    /// When it does not.
    pub fn serve(name: &str, args: &[&str]) -> Self {
        let mut child = command(name, args)
            .stdout(Stdio::piped())
            .spawn()
            .expect("Python is installed: make setup-tests");
        let output = child.stdout.take().expect("it is piped");
        let mut address = String::new();
        let read = BufReader::new(output).read_line(&mut address);
        read.expect("it prints text");
        let address = address.trim().to_owned();
        assert!(!address.is_empty(), "{name} does not listen");
        Self { address, child }
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a client to its end, and requires that it is content.
///
/// # Panics
/// When it is not.
pub async fn run(name: &str, args: &[&str]) {
    content(name, command(name, args)).await;
}

/// The same for one that needs packages which Debian does not have.
///
/// # Panics
/// When it is not content.
pub async fn run_packaged(name: &str, args: &[&str]) {
    let python = binary::repository().join(PACKAGED);
    content(name, command_of(python.as_os_str(), name, args)).await;
}

async fn content(name: &str, mut command: Command) {
    let output = output(&mut command).await;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{name}: {}{}",
        text(&output.stdout),
        text(&output.stderr)
    );
}

/// Runs a program to its end.
///
/// # Panics
/// When it is not installed.
pub async fn output(command: &mut Command) -> Output {
    let mut command = std::mem::replace(command, Command::new("true"));
    let done = tokio::task::spawn_blocking(move || command.output()).await;
    done.expect("it does not panic")
        .expect("it is installed: make setup-tests")
}

fn command(name: &str, args: &[&str]) -> Command {
    command_of(PYTHON.as_ref(), name, args)
}

fn command_of(python: &OsStr, name: &str, args: &[&str]) -> Command {
    let script = binary::repository().join("tests/clients").join(name);
    let mut command = Command::new(python);
    command.arg(script).args(args).stdin(Stdio::null());
    // What the machine sends through a proxy is not for these.
    for name in ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"] {
        command.env_remove(name);
    }
    command
}
