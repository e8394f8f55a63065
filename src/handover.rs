//! `tidegate handover`: a newer process takes the place of the gateway, L4 balancer or DNS server that runs.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use chassis::units::Period;
use clap::Args;

use crate::check::role_of;
use crate::schema::Role;

#[derive(Args)]
pub(crate) struct HandoverArgs {
    /// The successor's configuration file.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// How long the successor may take until it can serve; at most 10m.
    #[arg(long, value_name = "DURATION", default_value = "60s")]
    timeout: Period,
    /// Have the successor write its bound addresses here, as JSON.
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
}

/// Why nobody took over.
#[derive(Debug, thiserror::Error)]
enum HandoverError {
    #[error("a process of {0} has no hand-over: it is for the gateway, for L4 and for DNS")]
    NotThis(&'static str),
    #[error("the successor could not be started: {0}")]
    Start(#[from] io::Error),
    #[error("the successor (process {0}) ended with {1}: it has changed nothing")]
    Ended(u32, ExitStatus),
    #[error("the successor (process {0}) has not said whether it serves: see what it logs")]
    Silent(u32),
}

/// How long the successor may take to end by itself after its time is over.
const GRACE: Duration = Duration::from_secs(15);

/// Between two looks at the successor.
const LOOK: Duration = Duration::from_millis(10);

pub(crate) fn main(args: &HandoverArgs) -> ExitCode {
    match run(args) {
        Ok((successor, predecessor)) => {
            println!("process {successor} took over from {predecessor}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &HandoverArgs) -> Result<(u32, u64), HandoverError> {
    let role = role_of(&args.config);
    if role == Role::Users {
        return Err(HandoverError::NotThis(role.name()));
    }
    let folder = tempfile::tempdir()?;
    let own = folder.path().join("ready.json");
    let ready_file = args.ready_file.as_deref().unwrap_or(&own);
    let mut successor = Command::new(std::env::current_exe()?)
        .arg(role.name())
        .arg("--config")
        .arg(&args.config)
        .arg("--ready-file")
        .arg(ready_file)
        .arg(format!("--take-over={}", args.timeout))
        .stdin(Stdio::null())
        .spawn()?;
    let pid = successor.id();
    let predecessor = wait(&mut successor, ready_file, *args.timeout + GRACE)?;
    Ok((pid, predecessor))
}

/// Waits until the successor serves; the process id of its predecessor.
fn wait(successor: &mut Child, ready_file: &Path, limit: Duration) -> Result<u64, HandoverError> {
    let pid = successor.id();
    let deadline = Instant::now() + limit;
    loop {
        if let Some(predecessor) = predecessor_of(pid, ready_file) {
            return Ok(predecessor);
        }
        if let Some(status) = successor.try_wait()? {
            return Err(HandoverError::Ended(pid, status));
        }
        if Instant::now() >= deadline {
            // It may serve by now, alone: it must not be killed.
            return Err(HandoverError::Silent(pid));
        }
        std::thread::sleep(LOOK);
    }
}

/// Whom the successor has replaced. The file may still be its predecessor's own.
fn predecessor_of(pid: u32, ready_file: &Path) -> Option<u64> {
    let text = std::fs::read_to_string(ready_file).ok()?;
    let ready: serde_json::Value = serde_json::from_str(&text).ok()?;
    let its_own = ready["pid"].as_u64() == Some(pid.into());
    ready["predecessor"].as_u64().filter(|_| its_own)
}
