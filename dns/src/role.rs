//! The process of `tidegate dns`: start, reload, hand-over, stop.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use chassis::config::{Diagnostic, Report};
use chassis::life::{
    Admin, Changes, Life, ReloadReceiver, ReloadRequests, Reloaded, RoleArgs, Stage, StartError,
    Watched, memory, run, succession,
};
use chassis::net::handover::{Candidate, Door};
use chassis::net::{Bound, Inherited, raise_descriptor_limit};
use tokio::sync::{Mutex, Notify};

use crate::alias;
use crate::compile::{Compiled, Policies, compile, renew};
use crate::config::Config;
use crate::dnssec::{self, KeysArgs};
use crate::explain::{self, ExplainArgs};
use crate::following;
use crate::health::{self, Health};
use crate::learned::Learned;
use crate::metrics::DnsCollector;
use crate::serve::{Listeners, Plan, Shared};
use crate::state::State;
use crate::transfer;

/// In this time every thread has let go of a state that was replaced.
const LET_GO: Duration = Duration::from_secs(1);

/// How long threads may take to end.
const LEAVE: Duration = Duration::from_secs(2);

/// The arguments of `tidegate dns`.
#[derive(Clone, Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct DnsArgs {
    #[command(subcommand)]
    command: Option<DnsCommand>,
    /// None with a subcommand.
    #[command(flatten)]
    role: Option<RoleArgs>,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum DnsCommand {
    /// Say which answer a client gets, and why.
    Explain(ExplainArgs),
    /// Show and replace the keys of signed zones.
    #[command(subcommand)]
    Keys(KeysArgs),
}

/// Runs the role until it is told to stop.
pub fn main(args: &DnsArgs) -> ExitCode {
    let args = match (&args.command, &args.role) {
        (Some(DnsCommand::Explain(args)), _) => return explain::main(args),
        (Some(DnsCommand::Keys(args)), _) => return dnssec::main(args),
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
    let mut compiled = compile(file, &Learned::default())?;
    Ok(std::mem::take(&mut compiled.warnings))
}

/// The running role, as its control thread sees it.
struct Running<'a> {
    file: &'a Path,
    shared: Arc<Shared>,
    listeners: Listeners,
    /// Where a successor knocks.
    door: Arc<Door>,
    /// None until it serves.
    admin: Option<Admin>,
    threads: usize,
    /// A state was, and its memory is free soon.
    replaced: Arc<Notify>,
    /// What only a restart changes.
    fixed: (std::net::SocketAddr, Option<u16>),
}

async fn serve(args: &RoleArgs, systemd: Inherited) -> Result<(), StartError> {
    let learned = Arc::new(Learned::serving());
    let Compiled {
        state,
        mut loaded,
        policies,
        warnings,
    } = compile(&args.config, &learned)?;
    let changes = Watched::new(&loaded.sources, Vec::new());
    // They are compiled, and written down as long as the process runs they would take as much memory as it serves with.
    (loaded.sources, loaded.config.zone) = Default::default();
    let config = &loaded.config;
    let _ = config.log.start();
    warn(&warnings);
    let changes = changes.watch();
    raise_descriptor_limit();
    let life = Life::start("dns")?;
    let health = Health::new();
    let mut running = Running::new(args, config, state, learned, health.clone(), &life)?;
    let mut inherited = systemd;
    let taking_over = args.take_over.is_some();
    let started = running.start(args, config, policies, &mut inherited, &life);
    let Some((admin, plan)) = started.await? else {
        return Ok(());
    };
    if taking_over && let Err(error) = health.reread().await {
        // As it was when this process began.
        tracing::error!(%error, "what was set last is not known");
    }
    running.catch_up(taking_over);
    following::follow_now(&running.shared.state.load(), &running.shared);
    running.attend();
    // From here on nobody else serves: what fails is told, and this process serves on.
    running.publish();
    running
        .listeners
        .apply(plan, running.threads, &running.shared);
    inherited.close_unclaimed();
    let mut addresses = running.addresses();
    addresses.insert("admin".into(), admin.address().to_string());
    let (reloads, requests) = ReloadRequests::channel();
    let learned = running.shared.learned.clone();
    let routes = health::router(health)
        .merge(alias::router(learned.clone()))
        .merge(transfer::router(learned));
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

/// Gives back the memory of states that were replaced. What compiles them is this thread, and so most of it is its own.
async fn give_back(replaced: &Notify) {
    loop {
        replaced.notified().await;
        tokio::time::sleep(LET_GO).await;
        memory::give_back();
    }
}

/// Mistakes that only a start could find, drawn from the configuration as it is now.
fn told(file: &Path, mistakes: Vec<Diagnostic>) -> StartError {
    match compile(file, &Learned::default()) {
        Ok(compiled) => compiled.loaded.report(mistakes).into(),
        Err(report) => report.into(),
    }
}

/// The state with what was learned since it was compiled: addresses, and copies that a predecessor has left.
fn with_news(state: State, learned: &Learned, taking_over: bool) -> State {
    let copies = taking_over && state.transfers.has_copies();
    if !copies && alias::aliases(&state.zones).next().is_none() {
        return state;
    }
    renew(&state, learned).unwrap_or_else(|mistakes| {
        tell_unanswered(mistakes);
        state
    })
}

/// The state with its keys in their files: from now on nothing else hinders it to serve.
///
/// # Errors
/// When they cannot be written.
fn with_keys(state: State, learned: &Learned) -> Result<State, Vec<Diagnostic>> {
    learned.keys.write();
    state.signing.begin_anew(&state.zones);
    match state.signed.are_written() {
        true => Ok(state),
        false => renew(&state, learned),
    }
}

fn tell_unanswered(mistakes: Vec<Diagnostic>) {
    for Diagnostic { message, .. } in mistakes {
        tracing::error!("what was learned is not answered: {message}");
    }
}

fn fixed(config: &Config) -> (std::net::SocketAddr, Option<u16>) {
    let threads = config.threads.as_ref().map(|threads| **threads);
    (*config.admin.address, threads)
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
        learned: Arc<Learned>,
        health: Arc<Health>,
        life: &Life,
    ) -> Result<Self, StartError> {
        let opened = state.open_log(None);
        opened.map_err(|mistake| told(&args.config, vec![mistake]))?;
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let threads = config.threads.as_ref();
        learned.tls.remember(&state.listeners);
        let shared = Arc::new(Shared {
            state: ArcSwap::from_pointee(state),
            health,
            learned,
            counts: Default::default(),
            sites: Default::default(),
            clients: Default::default(),
            pressure: life.pressure.clone(),
        });
        life.registry
            .register(Box::new(DnsCollector(shared.clone())))?;
        Ok(Self {
            file: &args.config,
            listeners: Listeners::default(),
            door: Arc::default(),
            replaced: Arc::default(),
            admin: None,
            threads: threads.map_or(cores, |threads| usize::from(**threads)),
            fixed: fixed(config),
            shared,
        })
    }

    /// Lets what is answered follow health, keys and signatures.
    fn attend(&self) {
        let shared = &self.shared;
        tokio::spawn(following::follow(shared.clone()));
        tokio::spawn(dnssec::keep(shared.clone(), shared.learned.clone()));
    }

    /// Binds everything, and learns what answers need; none when the process is to leave meanwhile.
    async fn start(
        &self,
        args: &RoleArgs,
        config: &Config,
        policies: Policies,
        inherited: &mut Inherited,
        life: &Life,
    ) -> Result<Option<(Bound, Plan)>, StartError> {
        let state = self.shared.state.load_full();
        let Some(within) = args.take_over.map(|within| *within) else {
            // A port in use is told at once. What arrives meanwhile waits in the sockets.
            let prepared = self.prepare(config, inherited, false)?;
            let kept = with_keys(State::clone(&state), &self.shared.learned);
            let kept = kept.map_err(|mistakes| told(self.file, mistakes))?;
            self.shared.state.store(Arc::new(kept));
            let begun = following::begin(&self.shared, &state, policies, life).await;
            if !begun {
                self.door.close();
            }
            return Ok(begun.then_some(prepared));
        };
        if !following::begin(&self.shared, &state, policies, life).await {
            return Ok(None);
        }
        let begun = succession::begin(args, state.handover.as_ref(), within, START).await;
        let (take_over, mut theirs) = begun?;
        self.shared.learned.inherit(Some(&take_over));
        let preparing = async { self.prepare(config, &mut theirs, true) };
        let prepared = succession::settle(Some(take_over), preparing, Some(within), life).await?;
        match with_keys(State::clone(&state), &self.shared.learned) {
            Ok(kept) => self.shared.state.store(Arc::new(kept)),
            Err(mistakes) => tell_unanswered(mistakes),
        }
        // Newer copies may have come while this process began.
        self.shared.learned.secondaries.reread(&state.transfers);
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
            Err(mistake) => Err(told(self.file, vec![mistake])),
        }
    }

    fn addresses(&self) -> BTreeMap<String, String> {
        let addresses = self.listeners.addresses();
        addresses
            .map(|(name, address)| (name.to_string(), address.to_string()))
            .collect()
    }

    fn plan(&self, state: &State, inherited: &mut Inherited) -> Result<Plan, Diagnostic> {
        self.listeners
            .plan(&state.listeners, self.threads, inherited)
    }

    /// Reloads, compiles anew what was learned, and lets successors in, until the process is to stop or is replaced.
    async fn until_left(
        &mut self,
        life: &Life,
        requests: ReloadReceiver,
        changes: Changes,
    ) -> Result<(), StartError> {
        let door = self.door.clone();
        let learned = self.shared.learned.clone();
        let replaced = self.replaced.clone();
        // One at a time: a hand-over must not see half of a reload.
        let running = Mutex::new(self);
        let reloads = life.obey_reloads(requests, changes, async || {
            running.lock().await.reload(life).await
        });
        let successors = door.serve(async |candidate| {
            running.lock().await.hand_over(candidate, life).await;
        });
        let renewals = async {
            learned
                .each_news(async || running.lock().await.renew())
                .await;
        };
        tokio::select! {
            biased;
            ended = reloads => Ok(ended?),
            () = successors => Ok(()),
            () = renewals => Ok(()),
            () = give_back(&replaced) => Ok(()),
        }
    }

    async fn reload(&mut self, life: &Life) -> Reloaded {
        let keys = &self.shared.learned.keys;
        keys.hold();
        let compiled = compile(self.file, &self.shared.learned);
        keys.write();
        let compiled = match compiled {
            Ok(compiled) => compiled,
            Err(report) => return Reloaded::failed(&report, Vec::new()),
        };
        let Compiled {
            mut state,
            loaded,
            policies,
            warnings,
        } = compiled;
        if fixed(&loaded.config) != self.fixed {
            tracing::warn!("`admin` or `threads` changed: that takes effect at the next start");
        }
        let planned = self.plan(&state, &mut Inherited::default());
        let before = self.shared.state.load();
        let planned = planned.and_then(|plan| state.open_log(Some(&before)).map(|()| plan));
        drop(before);
        let planned =
            planned.and_then(|plan| self.door.follow(state.handover.as_ref()).map(|()| plan));
        match planned {
            Ok(plan) => {
                state = match with_keys(state, &self.shared.learned) {
                    Ok(state) => state,
                    Err(mistakes) => {
                        return Reloaded::failed(&loaded.report(mistakes), Vec::new());
                    }
                };
                warn(&warnings);
                let watched = Watched::new(&loaded.sources, Vec::new());
                // Meanwhile the old state serves, and follows what both have in common.
                following::begin(&self.shared, &state, policies, life).await;
                let mut state = with_news(state, &self.shared.learned, false);
                state.settle();
                following::follow_now(&state, &self.shared);
                self.shared.learned.tls.remember(&state.listeners);
                self.shared.state.store(Arc::new(state));
                // What changed in between was followed by the old one alone.
                following::follow_now(&self.shared.state.load(), &self.shared);
                self.listeners.apply(plan, self.threads, &self.shared);
                self.publish();
                self.replaced.notify_one();
                Reloaded::ok(watched)
            }
            Err(mistake) => Reloaded::failed(&loaded.report(vec![mistake]), Vec::new()),
        }
    }

    /// Looks after the zones that come from primaries, and tells others of those that they may copy.
    fn publish(&self) {
        let state = self.shared.state.load();
        let learned = &self.shared.learned;
        learned.secondaries.apply(&state.transfers, learned);
        learned.told.publish(&state, &learned.secondaries);
    }

    /// Compiles the answers for what was learned before it served.
    fn catch_up(&self, taking_over: bool) {
        let state = State::clone(&self.shared.state.load());
        let mut state = with_news(state, &self.shared.learned, taking_over);
        state.settle();
        self.shared.state.store(Arc::new(state));
        self.replaced.notify_one();
    }

    /// Compiles the answers for what was learned.
    fn renew(&self) {
        match renew(&self.shared.state.load(), &self.shared.learned) {
            Ok(state) => {
                following::ask(&state, &self.shared);
                self.shared.state.store(Arc::new(state));
                following::follow_now(&self.shared.state.load(), &self.shared);
                self.publish();
                self.replaced.notify_one();
            }
            Err(mistakes) => tell_unanswered(mistakes),
        }
    }

    /// Gives everything to a successor; this process serves on if that fails.
    async fn hand_over(&mut self, candidate: Candidate, life: &Life) {
        let names = self.listeners.names();
        let mut offered = self.listeners.offered(&names);
        offered.extend(self.admin.iter().flat_map(|admin| admin.offered()));
        let kept = self.shared.learned.bequeath();
        let successor = succession::offer_with(candidate, &offered, kept).await;
        let Some(successor) = successor else {
            return;
        };
        self.listeners.close();
        self.shared.learned.secondaries.leave();
        if let Some(admin) = &self.admin {
            admin.close();
        }
        self.door.leave();
        life.replaced_by(successor);
    }

    /// Answers what waits, and lets connections end.
    async fn finish(&mut self, life: &Life) {
        let replaced = life.stage() == Stage::Replaced;
        if !replaced {
            self.door.close();
        }
        self.listeners.close();
        self.listeners.finish(LEAVE).await;
        let state = self.shared.state.load_full();
        let drain = state
            .handover
            .as_ref()
            .map_or(LEAVE, |handover| handover.drain);
        let limit = if replaced { drain } else { LEAVE };
        let ended = async {
            while self.shared.clients.open() > 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::select! {
            () = ended => {}
            () = tokio::time::sleep(limit) => {}
            () = life.left() => {}
        }
        if let Some(admin) = self.admin.take().filter(|_| replaced) {
            admin.finish().await;
        }
    }
}

/// How there would be a process to take the place of.
const START: &str = "start one with `tidegate dns`";
