//! A running process of the binary; it ends with its test, however that ends.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::binary;
use crate::eventually::{SOON, eventually};

/// A running process. What it prints is kept, and shown when its test fails.
#[derive(Debug)]
pub struct Process {
    child: Child,
    title: String,
    /// Its ready file, and what it prints.
    folder: TempDir,
    /// How long it may take to end by itself before it is killed.
    patience: Duration,
}

impl Process {
    /// Starts a subcommand that knows `--ready-file`.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(args: &[OsString], environment: &[(&str, String)]) -> Self {
        let mut command = Command::new(binary::path());
        command.args(args).stdin(Stdio::null());
        Self::spawn(command, args, environment)
    }

    /// Starts a subcommand from a shell script that ends in `exec "$@"`.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn through(script: &str, stdin: impl Into<Stdio>, args: &[OsString]) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh"]).arg(binary::path());
        command.args(args).stdin(stdin);
        Self::spawn(command, args, &[])
    }

    fn spawn(mut command: Command, args: &[OsString], environment: &[(&str, String)]) -> Self {
        let folder = TempDir::new().expect("temporary folders can be made");
        let file = |name: &str| {
            File::create(folder.path().join(name)).expect("files can be made in a new folder")
        };
        let child = command
            .arg("--ready-file")
            .arg(folder.path().join(READY))
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdout(file(STDOUT))
            .stderr(file(STDERR))
            .spawn()
            .expect("the binary can be started");
        let words: Vec<_> = args.iter().map(|arg| arg.to_string_lossy()).collect();
        Self {
            child,
            title: words.join(" "),
            folder,
            patience: Duration::ZERO,
        }
    }

    /// Lets it end by itself for so long when its test is over.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// What its ready file says.
    ///
    /// # Panics
    /// When it ends before it is ready, or takes too long.
    pub async fn ready(&mut self) -> Value {
        let path = self.folder.path().join(READY);
        let title = self.title.clone();
        eventually(&format!("{title} is ready"), SOON, async || {
            if let Ok(Some(status)) = self.child.try_wait() {
                let said = read(&self.folder.path().join(STDERR));
                panic!("{title} ended with {status} before it was ready: {said}");
            }
            serde_json::from_str(&fs::read_to_string(&path).ok()?).ok()
        })
        .await
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        send(self.child.id(), signal);
    }

    /// How it ended.
    ///
    /// # Panics
    /// When it does not end in time.
    pub async fn ended(&mut self, within: Duration) -> ExitStatus {
        let what = format!("{} ends", self.title);
        eventually(&what, within, async || self.child.try_wait().ok().flatten()).await
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// What it has printed to standard output.
    pub fn stdout(&self) -> String {
        read(&self.folder.path().join(STDOUT))
    }

    /// What it has printed to standard error.
    pub fn stderr(&self) -> String {
        read(&self.folder.path().join(STDERR))
    }

    fn end(&mut self) {
        let deadline = Instant::now() + self.patience;
        if !self.patience.is_zero() && !self.has_ended() {
            self.signal(Signal::TERM);
        }
        while Instant::now() < deadline && !self.has_ended() {
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
        if std::thread::panicking() {
            eprintln!("--- {}: standard output\n{}", self.title, self.stdout());
            eprintln!("--- {}: standard error\n{}", self.title, self.stderr());
        }
    }
}

/// Sends a signal to a process by its id.
pub fn send(id: u32, signal: Signal) {
    let pid = i32::try_from(id).ok().and_then(Pid::from_raw);
    if let Some(pid) = pid {
        let _ = kill_process(pid, signal);
    }
}

/// The processes whose command line names a path, such as a folder of `tidegate up`.
pub fn naming(path: &Path) -> Vec<u32> {
    let wanted = path.to_string_lossy().into_owned();
    let this = std::process::id();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter_map(|entry| {
            let id = entry.file_name().to_str()?.parse().ok()?;
            let line = fs::read(entry.path().join("cmdline")).ok()?;
            let named = String::from_utf8_lossy(&line).contains(&wanted);
            (named && id != this).then_some(id)
        })
        .collect()
}

fn read(path: &PathBuf) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

const READY: &str = "ready.json";
const STDOUT: &str = "stdout";
const STDERR: &str = "stderr";
