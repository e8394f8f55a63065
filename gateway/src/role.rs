//! The process of `tidegate gateway`: start, reload, drain.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use chassis::config::{Diagnostic, Report, load};
use chassis::life::{Life, ReloadRequests, Reloaded, RoleArgs, Watched};
use prometheus::core::Collector;
use tokio::runtime::Handle;

use crate::config::Config;
use crate::gateway::Gateway;
use crate::metrics::StateCollector;
use crate::proxy::{Proxies, Shared};
use crate::serve::{Listeners, Workers};
use crate::state::State;

/// Why the role cannot start.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error(transparent)]
    Config(#[from] Report),
    #[error("the admin listener cannot listen on {0}: {1}")]
    Admin(std::net::SocketAddr, std::io::Error),
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// How long a start or a reload waits for the first verdicts of health checks.
const FIRST_VERDICTS: Duration = Duration::from_secs(2);

pub(crate) fn run(gateway: Gateway, args: &RoleArgs) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("control")
        .enable_all()
        .build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(serve(gateway, args)),
        Err(error) => Err(error.into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// The running gateway, as its control thread sees it.
struct Running<'a> {
    gateway: Gateway,
    file: &'a Path,
    shared: Arc<Shared>,
    listeners: Listeners,
    workers: Workers,
    /// What only a restart changes.
    fixed: Fixed,
}

/// The settings that a reload cannot change.
#[derive(Clone, Copy, PartialEq)]
struct Fixed {
    admin: std::net::SocketAddr,
    threads: Option<u16>,
}

impl Fixed {
    fn of(config: &Config) -> Self {
        Self {
            admin: *config.admin.address,
            threads: config.threads.map(chassis::config::Located::into_inner),
        }
    }
}

async fn serve(gateway: Gateway, args: &RoleArgs) -> Result<(), StartError> {
    // Another part of the process may have chosen one; any will do.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let loaded = load::<Config>(&args.config)?;
    // First without a runtime: nothing is started for a configuration that is wrong.
    let (_, loaded) = gateway.compile(loaded, None, None)?;
    let _ = loaded.config.log.start();
    let life = Life::start("gateway")?;
    let (state, loaded) = gateway.compile(loaded, None, Some(&Handle::current()))?;
    let watched = Watched::new(&loaded.sources, state.files.clone());
    let config = &loaded.config;

    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let threads = config
        .threads
        .map_or(cores, |threads| usize::from(*threads));
    let shared = Arc::new(Shared::new(life.pressure.clone()));
    let proxies = Arc::new(Proxies::new(shared.clone(), threads));
    let mut running = Running {
        file: &args.config,
        listeners: Listeners::default(),
        workers: Workers::start(threads, proxies)?,
        shared,
        gateway,
        fixed: Fixed::of(config),
    };
    running.register_metrics(&life)?;
    state.judged(FIRST_VERDICTS).await;
    let (reloads, requests) = ReloadRequests::channel();
    let admin = config.admin.serve(&life, reloads).await;
    let admin = admin.map_err(|error| StartError::Admin(*config.admin.address, error))?;
    let drain = *config.drain;
    if let Err(mistake) = running.apply(state) {
        return Err(loaded.report(vec![mistake]).into());
    }
    let mut addresses: BTreeMap<String, String> = running.listeners.addresses().collect();
    addresses.insert("admin".into(), admin.to_string());
    life.ready(&addresses, args.ready_file.as_deref())?;

    life.obey_reloads(requests, watched, async || running.reload().await)
        .await?;

    running.listeners.close();
    let in_flight = || life.pressure.in_flight();
    let left = running.workers.drain(drain, in_flight).await;
    if left > 0 {
        tracing::info!(
            connections = left,
            in_flight = in_flight(),
            "ended with connections open"
        );
    }
    Ok(())
}

impl Running<'_> {
    /// Puts a state in force: bind, swap, then accept and close.
    fn apply(&mut self, state: State) -> Result<(), Diagnostic> {
        let wanted = state.listeners.clone();
        let bound = self.listeners.bind(&wanted, self.workers.count())?;
        self.shared
            .name_listeners(bound.iter().map(|one| (one.address, one.name.clone())));
        self.shared.state.store(Some(Arc::new(state)));
        self.listeners.apply(&wanted, bound, &self.workers);
        Ok(())
    }

    async fn reload(&mut self) -> Reloaded {
        let loaded = match load::<Config>(self.file) {
            Ok(loaded) => loaded,
            Err(report) => return Reloaded::failed(&report, Vec::new()),
        };
        let previous = self.shared.state.load_full();
        let compiled = self
            .gateway
            .compile(loaded, previous.as_deref(), Some(&Handle::current()));
        let (state, loaded) = match compiled {
            Ok(compiled) => compiled,
            Err(report) => {
                let files = previous.map_or_else(Vec::new, |state| state.files.clone());
                return Reloaded::failed(&report, files);
            }
        };
        // New endpoints get requests only after a check: until they are judged, the old state serves.
        state.judged(FIRST_VERDICTS).await;
        let files = state.files.clone();
        if Fixed::of(&loaded.config) != self.fixed {
            tracing::warn!("`admin` or `threads` changed: that takes effect at the next start");
        }
        match self.apply(state) {
            Ok(()) => Reloaded::ok(Watched::new(&loaded.sources, files)),
            Err(mistake) => Reloaded::failed(&loaded.report(vec![mistake]), files),
        }
    }

    fn register_metrics(&self, life: &Life) -> prometheus::Result<()> {
        let states = StateCollector(self.shared.state.clone());
        life.registry.register(Box::new(states))?;
        let kinds = self.gateway.registrations().iter();
        let of_plugins: Vec<Box<dyn Collector>> = kinds.flat_map(|kind| (kind.metrics)()).collect();
        for collector in of_plugins
            .into_iter()
            .chain(plugins::metrics())
            .chain(crate::serve::metrics())
        {
            life.registry.register(collector)?;
        }
        Ok(())
    }
}
