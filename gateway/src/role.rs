//! The process of `tidegate gateway`: start, reload, hand-over, drain.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use chassis::config::{Loaded, load};
use chassis::life::{
    Admin, Changes, Life, ReloadReceiver, ReloadRequests, Reloaded, RoleArgs, Stage, StartError,
    Watched, run_on, succession,
};
use chassis::net::handover::{Candidate, Door};
use chassis::net::{Bound, Inherited, raise_descriptor_limit, room_for_clients};
use prometheus::core::Collector;
use tokio::runtime::Handle;
use tokio::sync::Mutex;

use crate::config::Config;
use crate::exchange::Shared;
use crate::gateway::Gateway;
use crate::metrics::StateCollector;
use crate::proxy::Proxies;
use crate::serve::{Listeners, Plan, Workers};
use crate::state::State;
use crate::tls;

/// How long a start or a reload waits for the first verdicts of health checks.
const FIRST_VERDICTS: Duration = Duration::from_secs(2);

pub(crate) fn run(gateway: Gateway, args: &RoleArgs) -> ExitCode {
    // Before there is a second thread.
    let systemd = Inherited::from_systemd();
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(1).thread_name("control");
    run_on(&mut runtime, serve(gateway, args, systemd))
}

/// The running gateway, as its control thread sees it.
struct Running<'a> {
    gateway: Gateway,
    file: &'a Path,
    shared: Arc<Shared>,
    listeners: Listeners,
    workers: Workers,
    /// Where a successor knocks.
    door: Arc<Door>,
    /// None until it serves.
    admin: Option<Admin>,
    /// What only a restart changes.
    fixed: Fixed,
}

/// All that the gateway needs to serve; it accepts nothing yet.
struct Prepared<'a> {
    running: Running<'a>,
    loaded: Loaded<Config>,
    state: State,
    plan: Plan,
    admin: Bound,
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

async fn serve(gateway: Gateway, args: &RoleArgs, systemd: Inherited) -> Result<(), StartError> {
    // Another part of the process may have chosen one; any will do.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let loaded = load::<Config>(&args.config)?;
    // First without a runtime: nothing is started for a configuration that is wrong.
    let (state, loaded) = gateway.compile(loaded, None, None)?;
    let _ = loaded.config.log.start();
    let changes = Watched::new(&loaded.sources, state.files.clone()).watch();
    raise_descriptor_limit();
    let life = Life::start("gateway")?;
    let (take_over, mut inherited) = match args.take_over {
        None => (None, systemd),
        Some(within) => {
            let begun = succession::begin(args, state.handover.as_ref(), *within, START).await;
            let (take_over, inherited) = begun?;
            (Some(take_over), inherited)
        }
    };
    let taking_over = take_over.is_some();
    let preparing = prepare(gateway, args, loaded, &life, &mut inherited, taking_over);
    let prepared = succession::settle(
        take_over,
        preparing,
        args.take_over.map(|within| *within),
        &life,
    )
    .await?;
    let Prepared {
        mut running,
        loaded,
        state,
        plan,
        admin,
    } = prepared;
    let handover = state.handover.clone();
    running.put_in_force(state, plan);
    tokio::spawn(tls::warn_daily(running.shared.state.clone()));
    inherited.close_unclaimed();
    let mut addresses = running.addresses();
    addresses.insert("admin".into(), admin.address().to_string());
    let (reloads, requests) = ReloadRequests::channel();
    // From here on nobody else serves: what fails is told, and this process serves on.
    match loaded.config.admin.serve_on(admin, &life, reloads) {
        Ok(admin) => running.admin = Some(admin),
        Err(error) if taking_over => tracing::error!(%error, "there is no admin listener"),
        Err(error) => return Err(error.into()),
    }
    if taking_over {
        running.door.inherit(handover.as_ref());
    }
    life.ready(&addresses, args.ready_file.as_deref())?;
    running.until_left(&life, requests, changes).await?;
    running.finish(&life).await;
    Ok(())
}

/// Compiles, waits for the first verdicts, and binds.
async fn prepare<'a>(
    gateway: Gateway,
    args: &'a RoleArgs,
    loaded: Loaded<Config>,
    life: &Life,
    inherited: &mut Inherited,
    taking_over: bool,
) -> Result<Prepared<'a>, StartError> {
    let (state, loaded) = gateway.compile(loaded, None, Some(&Handle::current()))?;
    let config = &loaded.config;
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let threads = config
        .threads
        .map_or(cores, |threads| usize::from(*threads));
    let shared = Arc::new(Shared::new(life.pressure.clone()));
    let proxies = Arc::new(Proxies::new(&shared, threads));
    let running = Running {
        file: &args.config,
        listeners: Listeners::default(),
        workers: Workers::start(threads, proxies)?,
        shared,
        gateway,
        door: Arc::default(),
        admin: None,
        fixed: Fixed::of(config),
    };
    running.register_metrics(life)?;
    state.judged(FIRST_VERDICTS).await;
    let admin = config.admin.bind(inherited);
    let admin = admin.map_err(|error| StartError::Admin(*config.admin.address, error))?;
    let planned = running
        .listeners
        .plan(&state.listeners, threads, inherited)
        .and_then(|plan| match taking_over {
            // The predecessor waits there until this process serves.
            true => Ok(plan),
            false => running.door.follow(state.handover.as_ref()).map(|()| plan),
        });
    match planned {
        Ok(plan) => Ok(Prepared {
            running,
            loaded,
            state,
            plan,
            admin,
        }),
        Err(mistake) => Err(loaded.report(vec![mistake]).into()),
    }
}

impl Running<'_> {
    /// Swaps the state, then accepts and closes.
    fn put_in_force(&mut self, state: State, plan: Plan) {
        tls::warn(&state);
        let most = state.connections.or_else(room_for_clients);
        self.workers.connections.set_limit(most);
        let state = Arc::new(state);
        self.shared.state.store(Some(state.clone()));
        self.listeners.apply(plan, &self.workers);
        // Authorities ask the listeners.
        state.acme.start(&Handle::current());
    }

    fn addresses(&self) -> BTreeMap<String, String> {
        let addresses = self.listeners.addresses();
        addresses
            .map(|(name, address)| (name.to_string(), address.to_string()))
            .collect()
    }

    /// Reloads and lets successors in, until the process is to stop or is replaced.
    async fn until_left(
        &mut self,
        life: &Life,
        requests: ReloadReceiver,
        changes: Changes,
    ) -> Result<(), StartError> {
        let door = self.door.clone();
        // One at a time: a hand-over must not see half of a reload, nor a reload change the
        // sockets that a successor was given.
        let running = Mutex::new(self);
        let reloads = life.obey_reloads(requests, changes, async || {
            running.lock().await.reload().await
        });
        let successors = door.serve(async |candidate| {
            running.lock().await.hand_over(candidate, life).await;
        });
        tokio::select! {
            biased;
            ended = reloads => Ok(ended?),
            () = successors => Ok(()),
        }
    }

    /// Gives everything to a successor; this gateway serves on if that fails.
    async fn hand_over(&mut self, candidate: Candidate, life: &Life) {
        let addresses = self.listeners.addresses();
        let names: Vec<_> = addresses.map(|(name, _)| name).collect();
        let mut offered = self.listeners.offered(&names);
        offered.extend(self.admin.iter().flat_map(|admin| admin.offered()));
        let Some(successor) = succession::offer(candidate, &offered).await else {
            return;
        };
        self.listeners.close();
        if let Some(admin) = &self.admin {
            admin.close();
        }
        self.door.leave();
        life.replaced_by(successor);
    }

    /// Lets connections end: after a hand-over in their own time, at a stop within `drain`.
    async fn finish(&mut self, life: &Life) {
        let state = self.shared.state.load_full();
        let drain = state.as_ref().map_or(Duration::ZERO, |state| state.drain);
        if life.stage() == Stage::Replaced {
            let handover = state.as_ref().and_then(|state| state.handover.as_ref());
            let limit = handover.map_or(drain, |handover| handover.drain);
            self.workers.finish(limit, life).await;
            if let Some(admin) = self.admin.take() {
                admin.finish().await;
            }
        } else {
            self.door.close();
            self.listeners.remove_files();
        }
        self.listeners.close();
        if life.stage() != Stage::Replaced {
            let in_flight = || life.pressure.in_flight();
            let busy = || in_flight() + self.shared.owing.count();
            let left = tokio::select! {
                left = self.workers.drain(drain, busy) => left,
                () = life.left() => self.workers.connections.open(),
            };
            if left > 0 {
                let in_flight = in_flight();
                tracing::info!(connections = left, in_flight, "ended with connections open");
            }
        }
        self.workers.end().await;
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
        let planned = self
            .listeners
            .plan(
                &state.listeners,
                self.workers.count(),
                &mut Inherited::default(),
            )
            .and_then(|plan| self.door.follow(state.handover.as_ref()).map(|()| plan));
        match planned {
            Ok(plan) => {
                self.put_in_force(state, plan);
                Reloaded::ok(Watched::new(&loaded.sources, files))
            }
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
            .chain(crate::h2::metrics())
            .chain(crate::acme::metrics())
        {
            life.registry.register(collector)?;
        }
        Ok(())
    }
}

/// How there would be a gateway to take the place of.
const START: &str = "start a gateway with `tidegate gateway`";
