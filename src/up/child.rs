//! A role as a child process: started, watched, restarted.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use chassis::life::SUPERVISOR;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};

use super::addresses::Addresses;
use super::folder::Folder;

/// A role to be kept running.
pub(super) struct Role {
    pub(super) name: &'static str,
    ready_file: PathBuf,
    conf: PathBuf,
    environment: Vec<(String, String)>,
    colour: u8,
}

/// How long a role may take from its start to its ready file.
const START: Duration = Duration::from_secs(20);

impl Role {
    /// A role with the configuration of this name.
    pub(super) fn new(
        name: &'static str,
        conf: &str,
        colour: u8,
        folder: &Folder,
        addresses: &Addresses,
    ) -> Self {
        let mut environment: Vec<_> = addresses
            .0
            .iter()
            .map(|address| (address.variable.to_owned(), address.address.to_string()))
            .collect();
        let root = folder.root().display().to_string();
        environment.push(("TIDEGATE_DIR".to_owned(), root));
        if std::io::stdout().is_terminal() {
            environment.push(("TIDEGATE_LOG_FORMAT".to_owned(), "pretty".to_owned()));
        }
        Self {
            name,
            ready_file: folder.path("run").join(format!("{name}.json")),
            conf: folder.path("conf").join(format!("{conf}.toml")),
            environment,
            colour,
        }
    }

    /// Adds what the configuration is to know.
    pub(super) fn environment(mut self, more: Vec<(String, String)>) -> Self {
        self.environment.extend(more);
        self
    }

    /// Starts the process; it ends when this one does, however that comes about.
    pub(super) fn start(&self) -> std::io::Result<Child> {
        let _ = std::fs::remove_file(&self.ready_file);
        let mut child = Command::new(std::env::current_exe()?)
            .arg(self.name)
            .arg("--config")
            .arg(&self.conf)
            .arg("--ready-file")
            .arg(&self.ready_file)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .env(SUPERVISOR, std::process::id().to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0) // Ctrl-C reaches us alone, and we tell the child
            .kill_on_drop(true)
            .spawn()?;
        self.relay(child.stdout.take());
        self.relay(child.stderr.take());
        Ok(child)
    }

    /// Waits until the role serves; false when it ended or took too long.
    pub(super) async fn ready(&self, child: &mut Child) -> bool {
        let deadline = Instant::now() + START;
        while Instant::now() < deadline {
            if self.ready_file.exists() {
                return true;
            }
            if let Ok(Some(_)) = child.try_wait() {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        false
    }

    /// Prints what the role says, line by line, with its name in front.
    fn relay(&self, stream: Option<impl AsyncRead + Unpin + Send + 'static>) {
        let Some(stream) = stream else { return };
        let prefix = match std::io::stdout().is_terminal() {
            true => format!("\x1b[{}m{:>7} |\x1b[0m ", self.colour, self.name),
            false => format!("{:>7} | ", self.name),
        };
        tokio::spawn(async move {
            let mut lines = BufReader::new(stream).split(b'\n');
            while let Ok(Some(line)) = lines.next_segment().await {
                let mut out = std::io::stdout().lock();
                let whole = [prefix.as_bytes(), &line, b"\n"].concat();
                if out.write_all(&whole).is_err() {
                    return;
                }
            }
        });
    }
}

/// Asks a process to finish.
pub(super) fn terminate(child: &Child) {
    let pid = child
        .id()
        .and_then(|pid| i32::try_from(pid).ok())
        .and_then(Pid::from_raw);
    if let Some(pid) = pid {
        let _ = kill_process(pid, Signal::TERM);
    }
}
