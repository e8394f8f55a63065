//! The life of a role: start, ready, reload, drain, stop.
//!
//! ```text
//! starting --ready()--> ready --SIGTERM, SIGINT--> draining --> the process ends
//!                        | ^ \                         ^
//!                        | |  --hand-over--> replaced --+
//!      SIGHUP, file watch, POST /reload: one reload function
//! ```

mod accept;
mod admin;
mod admin_client;
pub mod memory;
mod parent;
mod reload;
mod run;
mod start_error;
pub mod succession;
mod watch;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch::{Receiver, Sender, channel};

use crate::telemetry::Pressure;
use crate::units::Period;

pub use self::admin::{Admin, AdminConfig};
pub use self::admin_client::{AdminClient, NotAnswered};
pub use self::parent::{SUPERVISOR, die_with_parent};
pub use self::reload::{NotReloaded, ReloadReceiver, ReloadRequests, Reloaded};
pub use self::run::{run, run_on};
pub use self::start_error::StartError;
pub use self::watch::{Changes, Watched};

/// The arguments that every role takes.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct RoleArgs {
    /// The configuration file.
    #[arg(short, long, value_name = "FILE")]
    pub config: PathBuf,
    /// Write the bound addresses here, as JSON, once the role serves.
    #[arg(long, value_name = "FILE")]
    pub ready_file: Option<PathBuf>,
    /// Take the place of the running process, within so long: what `tidegate handover` starts.
    #[arg(
        long,
        hide = true,
        value_name = "WITHIN",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "60s"
    )]
    pub take_over: Option<Period>,
}

/// Finds out whether a ready file can be written, before it is too late to give up.
///
/// # Errors
/// When it cannot.
pub fn prepare_ready_file(path: &Path) -> io::Result<()> {
    std::fs::write(unfinished(path), "").map_err(|error| not_written(path, &error))
}

fn not_written(path: &Path, error: &io::Error) -> io::Error {
    let what = format!("cannot write {}: {error}", path.display());
    io::Error::new(error.kind(), what)
}

fn unfinished(path: &Path) -> PathBuf {
    path.with_extension("tmp")
}

/// Where a role is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// It does not serve yet.
    Starting,
    /// It serves.
    Ready,
    /// A successor serves; this process finishes what it has, and takes its time.
    Replaced,
    /// It takes no new work and finishes what it has.
    Draining,
    /// It waits for nothing any more.
    Leaving,
}

/// How long a role may take to leave once it is to wait for nothing.
const LEAVE: Duration = Duration::from_secs(1);

/// A running role's connection to its process: stage, signals, metrics, admin listener. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Life {
    role: &'static str,
    stage: Arc<Sender<Stage>>,
    /// The process whose place this one has taken.
    predecessor: Arc<OnceLock<u32>>,
    /// SIGHUP is caught from the start: by default it would end the process.
    hangup: Arc<Mutex<Option<Signal>>>,
    /// Every metric of the process.
    pub registry: prometheus::Registry,
    /// The load of the process.
    pub pressure: Arc<Pressure>,
}

impl Life {
    /// A role that starts; signals are obeyed from here on.
    ///
    /// # Errors
    /// When signal handlers cannot be installed.
    pub fn start(role: &'static str) -> io::Result<Self> {
        let registry = prometheus::Registry::new();
        let life = Self {
            role,
            stage: Arc::new(channel(Stage::Starting).0),
            predecessor: Arc::default(),
            hangup: Arc::new(Mutex::new(Some(signal(SignalKind::hangup())?))),
            registry,
            pressure: Arc::default(),
        };
        life.register_process_metrics()
            .map_err(|error| io::Error::other(error.to_string()))?;
        life.obey_signals()?;
        let pressure = life.pressure.clone();
        tokio::spawn(async move {
            loop {
                pressure.tick(Instant::now());
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
        Ok(life)
    }

    /// The role's name.
    pub fn role(&self) -> &'static str {
        self.role
    }

    /// The stage it is in.
    pub fn stage(&self) -> Stage {
        *self.stage.borrow()
    }

    /// To wait for changes of the stage.
    pub fn stages(&self) -> Receiver<Stage> {
        self.stage.subscribe()
    }

    /// Says that the role serves: `/readyz` answers 200, systemd is told, and
    /// the ready file gets the bound addresses
    /// (`{"role", "pid", "predecessor", "addresses": {name: address}}`).
    ///
    /// # Errors
    /// When the ready file cannot be written, unless this process has taken another's place.
    pub fn ready(
        &self,
        addresses: &BTreeMap<String, String>,
        ready_file: Option<&Path>,
    ) -> io::Result<()> {
        if let Some(path) = ready_file
            && let Err(error) = self.write_ready_file(addresses, path)
        {
            // Nobody else serves any more.
            let Some(_predecessor) = self.predecessor.get() else {
                return Err(error);
            };
            tracing::error!(%error, "there is no ready file");
        }
        self.advance(Stage::Ready);
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
        tracing::info!(role = self.role, ?addresses, "ready");
        Ok(())
    }

    fn write_ready_file(
        &self,
        addresses: &BTreeMap<String, String>,
        path: &Path,
    ) -> io::Result<()> {
        let body = serde_json::json!({
            "role": self.role,
            "pid": std::process::id(),
            "predecessor": self.predecessor.get(),
            "addresses": addresses,
        });
        std::fs::write(unfinished(path), format!("{body}\n"))
            .and_then(|()| std::fs::rename(unfinished(path), path))
            .map_err(|error| not_written(path, &error))
    }

    /// Begins to drain.
    pub fn stop(&self) {
        let replaced = self.stage() == Stage::Replaced;
        if self.advance(Stage::Draining) {
            // The service goes on without a replaced process.
            if !replaced {
                let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
            }
            tracing::info!(role = self.role, "draining");
        }
    }

    /// Remembers the process whose place this one takes, for the ready file.
    pub fn succeed(&self, predecessor: u32) {
        let _ = self.predecessor.set(predecessor);
    }

    /// Says that another process has taken this one's place; systemd follows that one from now on.
    pub fn replaced_by(&self, successor: u32) {
        if self.advance(Stage::Replaced) {
            let _ = sd_notify::notify(&[sd_notify::NotifyState::MainPid(successor)]);
            tracing::info!(role = self.role, successor, "replaced");
        }
    }

    /// Resolves once the role drains.
    pub async fn draining(&self) {
        self.reached(Stage::Draining).await;
    }

    /// Resolves once nothing is to be waited for.
    pub async fn left(&self) {
        self.reached(Stage::Leaving).await;
    }

    /// Resolves once the role drains, or another process has taken its place.
    pub async fn leaving(&self) {
        self.reached(Stage::Replaced).await;
    }

    async fn reached(&self, stage: Stage) {
        let _ = self.stages().wait_for(|now| *now >= stage).await;
    }

    /// The hang-ups since the start; only for the first who asks.
    fn take_hangup(&self) -> Option<Signal> {
        let mut hangup = self.hangup.lock().unwrap_or_else(PoisonError::into_inner);
        hangup.take()
    }

    fn advance(&self, to: Stage) -> bool {
        self.stage.send_if_modified(|stage| {
            let later = to > *stage;
            if later {
                *stage = to;
            }
            later
        })
    }

    fn obey_signals(&self) -> io::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let life = self.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            life.stop();
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tracing::warn!("a second signal: leaving at once");
            life.advance(Stage::Leaving);
            tokio::time::sleep(LEAVE).await;
            std::process::exit(1);
        });
        Ok(())
    }

    fn register_process_metrics(&self) -> prometheus::Result<()> {
        let opts = prometheus::Opts::new("tidegate_build_info", "The version that runs")
            .const_label("role", self.role)
            .const_label("version", env!("CARGO_PKG_VERSION"));
        let build = prometheus::IntGauge::with_opts(opts)?;
        build.set(1);
        self.registry.register(Box::new(build))?;
        let process = prometheus::process_collector::ProcessCollector::for_self();
        self.registry.register(Box::new(process))
    }
}
