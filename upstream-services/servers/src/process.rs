//! A server's process.

use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
use std::net::TcpListener;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};

use crate::Error;

/// A port of 127.0.0.1 that was free a moment ago.
///
/// # Errors
/// When there is none.
pub fn free_port() -> io::Result<u16> {
    Ok(bind_free()?.local_addr()?.port())
}

/// A free port below those that the kernel gives to outgoing connections (32768 and up): one
/// of those could be taken between our look and the server's.
///
/// # Errors
/// When there is none.
pub fn bind_free() -> io::Result<TcpListener> {
    let random = RandomState::new();
    let mut last = TcpListener::bind(("127.0.0.1", 0));
    for turn in 0..100 {
        let port = 12_000 + u16::try_from(random.hash_one(turn) % 20_000).unwrap_or(0);
        last = TcpListener::bind(("127.0.0.1", port));
        if last.is_ok() {
            break;
        }
    }
    last
}

/// A running program, which is killed when the value is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    program: &'static str,
    child: Child,
    log: PathBuf,
}

/// How long a server may take to begin and to end.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(20);

impl Process {
    /// Starts a program; what it says goes to a log.
    pub(crate) fn start(
        program: &'static str,
        package: &'static str,
        log: PathBuf,
        setup: impl FnOnce(&mut Command),
    ) -> Result<Self, Error> {
        let out = File::options().create(true).append(true).open(&log);
        let out = out.and_then(|out| Ok((out.try_clone()?, out)));
        let (out, err) = out.map_err(|source| Error::File {
            path: log.clone(),
            source,
        })?;
        let mut command = Command::new(program);
        command.stdin(Stdio::null()).stdout(out).stderr(err);
        command.process_group(0); // Ctrl-C reaches who started it alone
        setup(&mut command);
        end_with_parent(&mut command);
        match command.spawn() {
            Ok(child) => Ok(Self {
                program,
                child,
                log,
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(Error::Missing { program, package })
            }
            Err(source) => Err(Error::Start { program, source }),
        }
    }

    /// Waits until it is ready.
    pub(crate) fn wait_ready(&mut self, ready: impl Fn() -> bool) -> Result<(), Error> {
        let end = Instant::now() + PATIENCE;
        while !ready() {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(self.failed(format!("has ended ({status})")));
            }
            if Instant::now() > end {
                return Err(self.failed(format!("is not ready after {PATIENCE:?}")));
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Waits until it has ended by itself.
    pub(crate) fn wait_end(&mut self) -> Result<(), Error> {
        match self.child.wait() {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(self.failed(format!("has failed ({status})"))),
            Err(error) => Err(self.failed(error.to_string())),
        }
    }

    /// Whether it has ended.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(id) = id {
            let _ = kill_process(id, signal);
        }
    }

    /// Stops all of its threads, and waits until they stand; or lets them go on.
    pub(crate) fn freeze(&self, frozen: bool) {
        if !frozen {
            return self.signal(Signal::CONT);
        }
        self.signal(Signal::STOP);
        let end = Instant::now() + PATIENCE;
        while !self.stands() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Whether every thread is stopped; also when nothing is known of them.
    fn stands(&self) -> bool {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.child.id()));
        let mut threads = threads.into_iter().flatten().flatten();
        threads.all(|thread| {
            let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
            // After the name in parentheses (proc_pid_stat(5)).
            let state = stat.rsplit_once(") ").map(|(_, rest)| rest);
            state.is_none_or(|rest| rest.starts_with(['T', 't', 'Z', 'X']))
        })
    }

    /// Asks it to end, and waits.
    pub(crate) fn stop(&mut self) {
        self.signal(Signal::TERM);
        let end = Instant::now() + PATIENCE;
        while self.ended().is_none() && Instant::now() < end {
            std::thread::sleep(LOOK);
        }
    }

    /// Ends it as a crash would.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    pub(crate) fn failed(&self, what: String) -> Error {
        Error::Failed {
            program: self.program,
            what,
            tail: tail(&self.log),
            log: self.log.clone(),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Writes a file that its owner alone may read.
pub(crate) fn write_private(path: &Path, text: &str) -> Result<(), Error> {
    let file = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(Error::file(path))
}

/// The program is to end when the thread that starts it does, however that comes about.
fn end_with_parent(command: &mut Command) {
    // SAFETY: between fork and exec only system calls are allowed, and this is one.
    #[expect(unsafe_code, reason = "the only way to run something in the child")]
    unsafe {
        command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::TERM))?));
    }
}

/// The errors in a log, or else its last lines.
fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    let errors = lines.iter().filter(|line| line.contains("ERROR"));
    let errors: Vec<_> = errors.copied().collect();
    let shown = if errors.is_empty() { lines } else { errors };
    shown[shown.len().saturating_sub(15)..].join("\n")
}
