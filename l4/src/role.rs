//! The process of `tidegate l4`: start, reload, hand-over, stop.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use chassis::config::{Diagnostic, Report};
use chassis::life::{
    Admin, Changes, Life, ReloadReceiver, ReloadRequests, Reloaded, RoleArgs, Stage, StartError,
    Watched, run, succession,
};
use chassis::net::handover::{Candidate, Door};
use chassis::net::{Bound, Inherited, raise_descriptor_limit};
use tokio::sync::Mutex;

use crate::compile::{Compiled, compile};
use crate::config::Config;
use crate::direct_return::DirectReturn;
use crate::dr::DrOptions;
use crate::explain::{self, ExplainArgs};
use crate::flush::{self, FlushArgs};
use crate::following;
use crate::forwarding::{self, Forwarding};
use crate::health::{self, Health};
use crate::metrics::L4Collector;
use crate::relay::limit_pipes;
use crate::serve::{Estate, Listeners, Plan, Room, SESSIONS, Shared, Workers, ask};
use crate::state::State;

/// How long threads may take to end, and connections when nobody says more.
const LEAVE: Duration = Duration::from_secs(2);

/// The arguments of `tidegate l4`.
#[derive(Clone, Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct L4Args {
    #[command(subcommand)]
    command: Option<L4Command>,
    /// None with a subcommand.
    #[command(flatten)]
    role: Option<RoleArgs>,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum L4Command {
    /// Have the kernel forward nothing any more: remove what a process has left there, also one that was killed.
    Flush(FlushArgs),
    /// Say which endpoint a connection gets, and why.
    Explain(ExplainArgs),
}

/// Runs the role until it is told to stop.
pub fn main(args: &L4Args) -> ExitCode {
    let args = match (&args.command, &args.role) {
        (Some(L4Command::Flush(args)), _) => return flush::main(args),
        (Some(L4Command::Explain(args)), _) => return explain::main(args),
        (None, Some(args)) => args,
        (None, None) => return ExitCode::FAILURE,
    };
    run(async |systemd| serve(args, systemd).await)
}

/// Judges a configuration file without starting anything. What is sound, but probably not meant, is returned.
///
/// # Errors
/// Every mistake, with its place.
pub fn check(file: &Path) -> Result<Vec<String>, Report> {
    compile(file, None, Instant::now()).map(|compiled| compiled.warnings)
}

/// The running role, as its control thread sees it.
struct Running<'a> {
    file: &'a Path,
    shared: Arc<Shared>,
    listeners: Listeners,
    workers: Option<Workers>,
    /// Where a successor knocks.
    door: Arc<Door>,
    /// None until it serves.
    admin: Option<Admin>,
    /// What descriptors there are for connections; none without a limit, and until it serves.
    room: Option<Room>,
    /// What only a restart changes.
    fixed: (std::net::SocketAddr, Option<u16>, DrOptions),
}

async fn serve(args: &RoleArgs, systemd: Inherited) -> Result<(), StartError> {
    raise_descriptor_limit();
    let Compiled {
        state,
        plan,
        files,
        loaded,
        warnings,
    } = compile(&args.config, None, Instant::now())?;
    let config = &loaded.config;
    let _ = config.log.start();
    warn(&warnings);
    let changes = Watched::new(&loaded.sources, files).watch();
    let life = Life::start("l4")?;
    state.begin(Instant::now());
    let mut running = Running::new(args, config, state, &life)?;
    let mut inherited = systemd;
    let taking_over = args.take_over.is_some();
    let state = running.shared.state.load_full();
    let direct_return = &running.shared.direct_return;
    direct_return.begin(&state, &config.dr, taking_over).await?;
    let started = running.start(args, config, plan, &mut inherited, &life);
    let Some((admin, plan)) = started.await? else {
        return Ok(());
    };
    if taking_over && let Err(error) = running.health().reread().await {
        // As it was when this process began.
        tracing::error!(%error, "what was set last is not known");
    }
    // Before the first connection: what follows by itself may be late for it.
    running.shared.follow();
    let told = running.forward().await;
    if !taking_over {
        told?;
    }
    tokio::spawn(following::follow(running.shared.clone()));
    tokio::spawn(forwarding::follow(running.shared.clone()));
    running.open(plan);
    running.settle(&life);
    inherited.close_unclaimed();
    let mut addresses = running.addresses();
    addresses.insert("admin".into(), admin.address().to_string());
    let (reloads, requests) = ReloadRequests::channel();
    // From here on nobody else serves: what fails is told, and this process serves on.
    let routes = health::router(running.shared.clone());
    match config.admin.serve_with(admin, &life, reloads, routes) {
        Ok(admin) => running.admin = Some(admin),
        Err(error) if taking_over => tracing::error!(%error, "there is no admin listener"),
        Err(error) => return Err(error.into()),
    }
    if taking_over {
        let state = running.shared.state.load();
        running.door.inherit(state.handover.as_ref());
    }
    life.ready(&addresses, args.ready_file.as_deref())?;
    running.until_left(&life, requests, changes).await?;
    running.finish(&life).await;
    Ok(())
}

/// A mistake that only binding could find, drawn from the configuration as it is now.
fn told(file: &Path, mistake: Diagnostic) -> StartError {
    match compile(file, None, Instant::now()) {
        Ok(compiled) => compiled.loaded.report(vec![mistake]).into(),
        Err(report) => report.into(),
    }
}

fn fixed(config: &Config) -> (std::net::SocketAddr, Option<u16>, DrOptions) {
    let threads = config.threads.as_ref().map(|threads| **threads);
    (*config.admin.address, threads, config.dr.clone())
}

fn warn(warnings: &[String]) {
    for warning in warnings {
        tracing::warn!("{warning}");
    }
}

impl<'a> Running<'a> {
    fn new(
        args: &'a RoleArgs,
        config: &Config,
        mut state: State,
        life: &Life,
    ) -> Result<Self, StartError> {
        let opened = state.open_log(None);
        opened.map_err(|mistake| told(&args.config, mistake))?;
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let threads = config.threads.as_ref();
        let workers = Workers::start(threads.map_or(cores, |threads| usize::from(**threads)))?;
        let shared = Arc::new(Shared {
            state: ArcSwap::from_pointee(state),
            health: Health::new(),
            forwarding: Arc::default(),
            open: Arc::default(),
            leaving: Arc::default(),
            pressure: life.pressure.clone(),
            direct_return: DirectReturn::default(),
        });
        life.registry
            .register(Box::new(L4Collector(shared.clone())))?;
        Ok(Self {
            file: &args.config,
            listeners: Listeners::default(),
            workers: Some(workers),
            door: Arc::default(),
            admin: None,
            room: None,
            fixed: fixed(config),
            shared,
        })
    }

    fn health(&self) -> &Arc<Health> {
        &self.shared.health
    }

    /// Binds everything, and learns which endpoints are well; none when the process is to leave meanwhile.
    async fn start(
        &self,
        args: &RoleArgs,
        config: &Config,
        plan: crate::health::Plan,
        inherited: &mut Inherited,
        life: &Life,
    ) -> Result<Option<(Bound, Plan)>, StartError> {
        let forwardable = Forwarding::check(&self.shared.state.load_full()).await;
        forwardable.map_err(|mistake| told(self.file, mistake))?;
        let Some(within) = args.take_over.map(|within| *within) else {
            // A port in use is told at once. What arrives meanwhile waits in the sockets.
            let prepared = self.prepare(config, inherited, false)?;
            let begun = following::begin(self.health(), plan, life).await;
            if !begun {
                self.door.close();
            }
            return Ok(begun.then_some(prepared));
        };
        if !following::begin(self.health(), plan, life).await {
            return Ok(None);
        }
        let state = self.shared.state.load_full();
        let begun = succession::begin(args, state.handover.as_ref(), within, START).await;
        let (take_over, mut theirs) = begun?;
        let sessions = take_over.kept(SESSIONS).map(String::from);
        let preparing = async { self.prepare(config, &mut theirs, true) };
        let settled = succession::settle(Some(take_over), preparing, Some(within), life).await;
        let mut prepared = settled?;
        if let Some(name) = sessions {
            let asked = tokio::task::spawn_blocking(move || ask(&name));
            prepared.1.inherit(asked.await.unwrap_or_default());
        }
        *inherited = theirs;
        Ok(Some(prepared))
    }

    /// Binds everything.
    fn prepare(
        &self,
        config: &Config,
        inherited: &mut Inherited,
        taking_over: bool,
    ) -> Result<(Bound, Plan), StartError> {
        let admin = config.admin.bind(inherited);
        let admin = admin.map_err(|error| StartError::Admin(*config.admin.address, error))?;
        let state = self.shared.state.load();
        let plan = self.plan(&state, inherited);
        let plan = plan.and_then(|plan| match taking_over {
            // The predecessor waits there until this process serves.
            true => Ok(plan),
            false => self.door.follow(state.handover.as_ref()).map(|()| plan),
        });
        match plan {
            Ok(plan) => Ok((admin, plan)),
            Err(mistake) => Err(told(self.file, mistake)),
        }
    }

    /// Tells the kernel what it is to forward. What fails is tried again.
    async fn forward(&self) -> Result<(), StartError> {
        // What checks have found meanwhile: an earlier process's flows are not to lose endpoints that are well.
        self.shared.follow();
        let state = self.shared.state.load_full();
        self.shared.direct_return.forward(&state).await;
        Forwarding::tell(&self.shared).await.map_err(|error| {
            tracing::error!(%error, "the kernel does not forward");
            StartError::Io(std::io::Error::other(error))
        })
    }

    fn open(&mut self, plan: Plan) {
        if let Some(workers) = &self.workers {
            self.listeners.apply(plan, workers, &self.shared);
        }
    }

    /// Deals out the descriptors that are left.
    fn settle(&mut self, life: &Life) {
        self.room = Room::find();
        if let Some(room) = self.room {
            self.shared.open.set_room(room.connections());
            room.warn(self.shared.state.load().connections);
        }
        self.limit(life);
    }

    /// Lets as many connections in as there may be, and pipes beside them.
    fn limit(&self, life: &Life) {
        let limit = self.shared.state.load().connections;
        let limit = self.shared.open.limit(limit);
        life.pressure.set_limit(Some(limit.into()));
        if let Some(room) = self.room {
            limit_pipes(room.pipes(limit));
        }
    }

    fn addresses(&self) -> BTreeMap<String, String> {
        let addresses = self.listeners.addresses();
        addresses
            .map(|(name, address)| (name.to_string(), address.to_string()))
            .collect()
    }

    fn plan(&self, state: &State, inherited: &mut Inherited) -> Result<Plan, Diagnostic> {
        let workers = self.workers.as_ref().map_or(1, Workers::count);
        self.listeners.plan(&state.listeners, workers, inherited)
    }

    /// Reloads, and lets successors in, until the process is to stop or is replaced.
    async fn until_left(
        &mut self,
        life: &Life,
        requests: ReloadReceiver,
        changes: Changes,
    ) -> Result<(), StartError> {
        let door = self.door.clone();
        // One at a time: a hand-over must not see half of a reload.
        let running = Mutex::new(self);
        let reloads = life.obey_reloads(requests, changes, async || {
            running.lock().await.reload(life).await
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

    async fn reload(&mut self, life: &Life) -> Reloaded {
        let before = self.shared.state.load_full();
        let compiled = match compile(self.file, Some(&before), Instant::now()) {
            Ok(compiled) => compiled,
            Err(report) => return Reloaded::failed(&report, Vec::new()),
        };
        let Compiled {
            mut state,
            plan,
            files,
            loaded,
            warnings,
        } = compiled;
        if fixed(&loaded.config) != self.fixed {
            tracing::warn!(
                "`admin`, `threads` or `dr` changed: that takes effect at the next start"
            );
        }
        if let Err(mistake) = Forwarding::check(&state).await {
            return Reloaded::failed(&loaded.report(vec![mistake]), Vec::new());
        }
        let (.., options) = &self.fixed;
        let begun = self.shared.direct_return.begin(&state, options, false);
        if let Err(error) = begun.await {
            let mistake = Diagnostic::new(loaded.place_of("dr"), error.to_string());
            return Reloaded::failed(&loaded.report(vec![mistake]), Vec::new());
        }
        let planned = self.plan(&state, &mut Inherited::default());
        let planned = planned.and_then(|sockets| state.open_log(Some(&before)).map(|()| sockets));
        let planned =
            planned.and_then(|sockets| self.door.follow(state.handover.as_ref()).map(|()| sockets));
        match planned {
            Ok(sockets) => {
                warn(&warnings);
                let watched = Watched::new(&loaded.sources, files);
                // Meanwhile the old state serves: an endpoint that is new gets nothing before it was checked.
                following::begin(self.health(), plan, life).await;
                self.shared.replace(state);
                self.limit(life);
                self.open(sockets);
                let _ = self.forward().await;
                self.health().changed.notify_one();
                Reloaded::ok(watched)
            }
            Err(mistake) => Reloaded::failed(&loaded.report(vec![mistake]), Vec::new()),
        }
    }

    /// Gives everything to a successor; this process serves on if that fails.
    async fn hand_over(&mut self, candidate: Candidate, life: &Life) {
        let names = self.listeners.names();
        let mut offered = self.listeners.offered(&names);
        offered.extend(self.admin.iter().flat_map(|admin| admin.offered()));
        let datagrams = self.listeners.datagrams();
        let estate = match datagrams.is_empty() {
            true => None,
            false => Estate::open()
                .inspect_err(|error| tracing::warn!(%error, "sessions of datagrams are not told"))
                .ok(),
        };
        let kept = estate
            .iter()
            .map(|estate| (SESSIONS.into(), estate.name.clone()));
        let successor = succession::offer_with(candidate, &offered, kept.collect()).await;
        let Some(successor) = successor else {
            return;
        };
        self.shared.forwarding.leave().await;
        self.listeners.close(true);
        if let Some(estate) = estate {
            tokio::task::spawn_blocking(move || estate.give(datagrams));
        }
        if let Some(admin) = &self.admin {
            admin.close();
        }
        self.door.leave();
        life.replaced_by(successor);
    }

    /// Lets connections end.
    async fn finish(&mut self, life: &Life) {
        let replaced = life.stage() == Stage::Replaced;
        let (.., options) = &self.fixed;
        let keep = replaced || options.keep;
        self.shared.direct_return.leave(keep).await;
        if !replaced {
            self.door.close();
            self.listeners.close(false);
            self.shared.forwarding.stop().await;
        }
        let state = self.shared.state.load_full();
        let drain = state
            .handover
            .as_ref()
            .map_or(LEAVE, |handover| handover.drain);
        let limit = if replaced { drain } else { LEAVE };
        self.shared.leaving.set(Some(limit), Instant::now());
        let ended = async {
            self.listeners.closed().await;
            while self.shared.open.count() > 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::select! {
            () = ended => {}
            () = tokio::time::sleep(limit) => {}
            () = life.left() => {}
        }
        if let Some(workers) = self.workers.take() {
            workers.finish(LEAVE).await;
        }
        if let Some(admin) = self.admin.take().filter(|_| replaced) {
            admin.finish().await;
        }
    }
}

/// How there would be a process to take the place of.
const START: &str = "start one with `tidegate l4`";
