//! Gateways that take each other's place.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use crate::admin::Admin;
use crate::binary;
use crate::eventually::{SOON, eventually};
use crate::gateway::{Gateway, address};
use crate::process::send;

/// A gateway and its successors, with a configuration that the test may change.
#[derive(Debug)]
pub struct Succession {
    folder: TempDir,
    /// The configuration that the first was started with.
    pub text: String,
    /// The first.
    pub first: Gateway,
    /// The process that serves.
    pub serving: u32,
    successors: Vec<u32>,
}

/// How a hand-over ended.
#[derive(Debug)]
pub struct Outcome {
    /// Whether the successor serves.
    pub succeeded: bool,
    /// What was printed to standard output.
    pub stdout: String,
    /// What was printed to standard error, by the successor too.
    pub stderr: String,
}

impl Succession {
    /// Starts the first, with this configuration, in which `DOOR` is a path for hand-overs.
    ///
    /// # Panics
    /// When it does not become ready.
    pub async fn start(configuration: &str) -> Self {
        let folder = TempDir::new().expect("temporary folders can be made");
        let file = folder.path().join("gateway.toml");
        let door = folder.path().join("door.sock");
        let text = configuration.replace("DOOR", &door.to_string_lossy());
        fs::write(&file, &text).expect("files can be written in a new folder");
        let first = Gateway::of(&file).await;
        Self {
            serving: first.process.id(),
            folder,
            text,
            first,
            successors: Vec::new(),
        }
    }

    /// The folder of the configuration.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The configuration.
    pub fn file(&self) -> PathBuf {
        self.folder().join("gateway.toml")
    }

    /// Writes another configuration beside the one that serves, which nobody watches.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn other(&self, configuration: &str) -> PathBuf {
        let folder = self.folder().join("other");
        fs::create_dir_all(&folder).expect("folders can be made");
        let file = folder.join("gateway.toml");
        fs::write(&file, configuration).expect("files can be written");
        file
    }

    /// Has a successor with this configuration take over.
    ///
    /// # Panics
    /// When the command cannot be run.
    pub async fn hand_over(&mut self, file: &Path) -> Outcome {
        let ready = self.folder().join("ready.json");
        let command = command(file);
        let outcome = run(
            command,
            self.folder(),
            &["--ready-file".into(), ready.into()],
        )
        .await;
        if outcome.succeeded {
            self.serving = pid(&self.ready());
            self.successors.push(self.serving);
        }
        outcome
    }

    /// What the last successor said when it was ready.
    ///
    /// # Panics
    /// When there was none.
    pub fn ready(&self) -> Value {
        let text = fs::read_to_string(self.folder().join("ready.json"));
        serde_json::from_str(&text.expect("a successor was ready")).expect("it is JSON")
    }

    /// The admin listener of the last successor.
    ///
    /// # Panics
    /// When there was none.
    pub fn admin(&self) -> Admin {
        Admin {
            address: address(&self.ready(), "admin"),
        }
    }

    /// Waits until a process has ended.
    ///
    /// # Panics
    /// When it does not.
    pub async fn gone(&mut self, process: u32, within: Duration) {
        eventually(&format!("process {process} ends"), within, async || {
            let _ = self.first.process.has_ended();
            is_gone(process).then_some(())
        })
        .await;
    }
}

impl Drop for Succession {
    fn drop(&mut self) {
        // They belong to nobody: what has ended may have left its id to another process.
        let folder = self.folder().to_string_lossy().into_owned();
        for successor in &self.successors {
            let line = fs::read(format!("/proc/{successor}/cmdline")).unwrap_or_default();
            if String::from_utf8_lossy(&line).contains(&folder) {
                send(*successor, Signal::KILL);
            }
        }
    }
}

impl Outcome {
    /// Requires that nothing has changed, and that this was said.
    ///
    /// # Panics
    /// When it is otherwise.
    #[track_caller]
    pub fn assert_failed(&self, why: &str) {
        assert!(!self.succeeded, "{self:?}");
        assert!(self.stderr.contains(why), "{why:?} is not in {self:?}");
        assert!(self.stderr.contains("changed nothing"), "{self:?}");
    }

    /// Requires that the successor serves.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn assert_succeeded(&self) {
        assert!(self.succeeded, "{self:?}");
    }
}

/// `tidegate handover` with this configuration.
pub fn command(file: &Path) -> Command {
    let mut command = Command::new(binary::path());
    command.arg("handover").arg("-c").arg(file);
    command.stdin(Stdio::null());
    command
}

/// Runs a command to its end. What it prints goes to files: its successor keeps them open.
///
/// # Panics
/// When it cannot be run.
pub async fn run(mut command: Command, folder: &Path, more: &[std::ffi::OsString]) -> Outcome {
    let file = |name: &str| fs::File::create(folder.join(name)).expect("files can be made");
    let (stdout, stderr) = (file("stdout"), file("stderr"));
    let status = command.args(more).stdout(stdout).stderr(stderr).status();
    let status = status.await.expect("the binary can be started");
    let text = |name: &str| fs::read_to_string(folder.join(name)).expect("it was just made");
    Outcome {
        succeeded: status.success(),
        stdout: text("stdout"),
        stderr: text("stderr"),
    }
}

/// How many descriptors a process has.
pub fn descriptors(process: u32) -> usize {
    fs::read_dir(format!("/proc/{process}/fd")).map_or(0, Iterator::count)
}

/// The resident memory of a process, in KiB.
///
/// # Panics
/// When it is not there.
pub fn resident(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status"));
    let status = status.expect("the process is there");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.expect("a process has memory")
}

/// The CPU time of a process so far, in ticks of 10 ms.
///
/// # Panics
/// When it is not there.
pub fn cpu_ticks(process: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).expect("the process is there");
    let (_, fields) = stat.rsplit_once(')').expect("the name is in brackets");
    let fields: Vec<&str> = fields.split_whitespace().collect();
    // utime and stime (proc_pid_stat(5)); the first field here is the third.
    let ticks = |at: usize| fields[at - 3].parse::<u64>().expect("it is a number");
    ticks(14) + ticks(15)
}

/// Waits until a process has become a child of that command.
pub async fn successor_of(command: u32) -> u32 {
    let children = format!("/proc/{command}/task/{command}/children");
    eventually("a successor starts", SOON, async || {
        let text = fs::read_to_string(&children).ok()?;
        text.split_whitespace().next()?.parse().ok()
    })
    .await
}

fn is_gone(process: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.is_empty() || stat.contains(") Z ")
}

fn pid(ready: &Value) -> u32 {
    let pid = ready["pid"]
        .as_u64()
        .and_then(|pid| u32::try_from(pid).ok());
    pid.expect("the ready file has a process id")
}
