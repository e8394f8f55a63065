//! The process of `tidegate users`: bind, serve, reload the signing keys, drain.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Weak};
use std::time::Duration;

use chassis::config::{Diagnostic, Located, Place, Report, load};
use chassis::life::{AdminConfig, Life, ReloadRequests, Reloaded, RoleArgs, Watched, run_on};
use chassis::telemetry::LogConfig;
use chassis::units::Period;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::sync::watch;

use crate::config::{
    BootstrapConfig, CacheConfig, DataConfig, HashConfig, HistoryConfig, LockoutConfig, Mistake,
    RecoveryConfig, ServicesConfig, TokenConfig,
};
use crate::serve::{Deadlines, Server};
use crate::unreachable::why_unreachable;
use crate::{Config, Error, Part, Users};

/// The configuration of `tidegate users`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RoleConfig {
    /// Where operators look at this process.
    pub admin: AdminConfig,
    /// Where the gateway connects.
    pub listen: ListenConfig,
    /// How the program logs its own events.
    #[serde(default)]
    pub log: LogConfig,
    /// How long requests in flight may take to finish when the service stops.
    #[serde(default = "default_drain")]
    pub drain: Period,
    /// Where the data lives.
    #[serde(default)]
    pub data: DataConfig,
    /// What is kept in memory in front of the data.
    #[serde(default)]
    pub cache: CacheConfig,
    /// How passwords are hashed.
    #[serde(default)]
    pub hash: HashConfig,
    /// The tokens handed out at login.
    #[serde(default)]
    pub tokens: TokenConfig,
    /// When wrong passwords are too many.
    #[serde(default)]
    pub lockout: LockoutConfig,
    /// How users who have forgotten their password get a new one.
    #[serde(default)]
    pub recovery: RecoveryConfig,
    /// The first administrator: made at a start that finds none.
    pub bootstrap: Option<BootstrapConfig>,
    /// How long is kept who logged in, and what changed.
    #[serde(default)]
    pub history: HistoryConfig,
    /// Where the parts of the services are, when each runs in processes of its own.
    pub services: Option<ServicesConfig>,
}

/// The arguments of `tidegate users`.
#[derive(Clone, Debug, clap::Args)]
pub struct UsersArgs {
    #[command(flatten)]
    role: RoleArgs,
    /// Run this part of the services alone; the others are where `services` in the configuration says.
    #[arg(long, value_name = "NAME")]
    service: Option<Part>,
}

/// Where the service listens: plain HTTP/1.1, meant for the gateway and not for the Internet.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListenConfig {
    /// Address and port; port 0 takes a free one.
    pub address: Located<SocketAddr>,
    /// The most connections at once, 1 to 1,000,000; what comes above it is closed at once.
    #[schemars(range(min = 1, max = 1_000_000))]
    #[serde(default = "default_connections")]
    pub connections: Located<u32>,
}

fn default_connections() -> Located<u32> {
    Located::nowhere(10_000)
}

const fn default_drain() -> Period {
    Period::from_secs(30)
}

/// Why the role cannot start.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error(transparent)]
    Config(#[from] Report),
    #[error(
        "{}: there is no table `[services]`: where is the part `{}`, and where are the others?",
        .0.display(), .1.name()
    )]
    NoServices(PathBuf, Part),
    #[error("cannot listen on {0}: {1}")]
    Bind(SocketAddr, std::io::Error),
    #[error(transparent)]
    Service(#[from] Error),
    #[error("{0}: {1}")]
    Unreachable(Error, String),
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

/// Runs the role until it is told to stop.
pub fn main(args: &UsersArgs) -> ExitCode {
    run_on(
        &mut tokio::runtime::Builder::new_multi_thread(),
        serve(args),
    )
}

/// Judges a configuration file without starting anything.
///
/// # Errors
/// Every mistake, with its place.
pub fn check(file: &Path) -> Result<(), Report> {
    read(file).map(drop)
}

/// The settings of the service in a configuration file.
pub(crate) fn service_of(file: &Path) -> Result<Config, Report> {
    read(file).map(|(_, service, _)| service)
}

fn read(file: &Path) -> Result<(RoleConfig, Config, Watched), Report> {
    let loaded = load::<RoleConfig>(file)?;
    let mut service = Config {
        data: loaded.config.data.clone(),
        cache: loaded.config.cache.clone(),
        hash: loaded.config.hash.clone(),
        tokens: loaded.config.tokens.clone(),
        lockout: loaded.config.lockout.clone(),
        recovery: loaded.config.recovery.clone(),
        bootstrap: loaded.config.bootstrap.clone(),
        history: loaded.config.history.clone(),
        services: loaded.config.services.clone(),
    };
    // As everywhere, relative paths start at the folder of the configuration.
    service.data.dir = loaded.sources.resolve(&service.data.dir, Place::default());
    if let Some(keys) = &mut service.tokens.keys {
        *keys = loaded.sources.resolve(keys, Place::default());
    }
    if let Some(spool) = &mut service.recovery.spool {
        *spool = loaded.sources.resolve(spool, Place::default());
    }
    if let Some(archive) = &mut service.history.archive {
        *archive = loaded.sources.resolve(archive, Place::default());
    }
    let mut mistakes: Vec<Diagnostic> = Vec::new();
    mistakes.extend(loaded.config.admin.validate().err());
    mistakes.extend(loaded.config.log.validate().err());
    let connections = &loaded.config.listen.connections;
    if !(1..=1_000_000).contains(&**connections) {
        let why = "`listen.connections` must be 1 to 1000000";
        mistakes.push(Diagnostic::new(connections.place(), why));
    }
    mistakes.extend(service.mistakes().iter().map(|Mistake { key, why }| {
        Diagnostic::new(loaded.place_of(key), format!("`{key}` {why}"))
    }));
    mistakes.sort_by_key(|mistake| mistake.place);
    if mistakes.is_empty() {
        let watched = Watched::new(&loaded.sources, Vec::new());
        return Ok((loaded.config, service, watched));
    }
    Err(loaded.report(mistakes))
}

async fn serve(args: &UsersArgs) -> Result<(), StartError> {
    let UsersArgs {
        role: args,
        service: part,
    } = args;
    let (mut config, service, watched) = read(&args.config)?;
    if let Some(part) = part {
        move_to(*part, &mut config, &args.config)?;
    }
    let _ = config.log.start();
    let changes = watched.watch();
    let life = Life::start("users")?;
    let users = Users::open_part(&service, *part, &life.registry).await;
    let users = users.map_err(not_opened)?;
    let wanted = *config.listen.address;
    let bound = tokio::net::TcpListener::bind(wanted).await;
    let listener = bound.map_err(|error| StartError::Bind(wanted, error))?;
    let address = listener.local_addr()?;

    let (reloads, requests) = ReloadRequests::channel();
    let admin = config.admin.serve(&life, reloads).await;
    let admin = admin.map_err(|error| StartError::Bind(*config.admin.address, error))?;

    let users = Arc::new(users);
    tokio::spawn(watch_queue(life.clone(), Arc::downgrade(&users)));
    let draining = life.clone();
    let (stop, stopping) = watch::channel(false);
    tokio::spawn(async move {
        draining.draining().await;
        let _ = stop.send(true); // nobody listens: it has ended
    });
    let limit = *config.listen.connections;
    let server = Server::new(
        users.router(),
        life.pressure.clone(),
        limit,
        Deadlines::default(),
        &life.registry,
    );
    let mut server = tokio::spawn(server.map_err(Error::from)?.run(listener, stopping));
    let addresses = BTreeMap::from([
        ("admin".to_owned(), admin.to_string()),
        ("http".to_owned(), address.to_string()),
    ]);
    life.ready(&addresses, args.ready_file.as_deref())?;

    life.obey_reloads(requests, changes, async || {
        reload(&args.config, &service, &users)
    })
    .await?;

    tokio::select! {
        _ = &mut server => {}
        () = tokio::time::sleep(*config.drain) => tracing::warn!("the drain deadline passed"),
        () = life.left() => {}
    }
    server.abort();
    if let Some(users) = Arc::into_inner(users) {
        users.close().await;
    }
    Ok(())
}

/// Listens where a part is to.
fn move_to(part: Part, config: &mut RoleConfig, file: &Path) -> Result<(), StartError> {
    let services = config.services.as_ref();
    let missing = || StartError::NoServices(file.to_owned(), part);
    let place = services.ok_or_else(missing)?.part(part);
    config.listen.address = Located::nowhere(place.listen);
    config.admin.address = Located::nowhere(place.admin);
    Ok(())
}

/// Why the services cannot be opened; of a server that takes no connection also what it says to one.
fn not_opened(error: Error) -> StartError {
    let why = match &error {
        Error::Store(of) => match of.as_ref() {
            store::Error::Unreachable { place, .. } => why_unreachable(place),
            _ => return error.into(),
        },
        _ => return error.into(),
    };
    StartError::Unreachable(error, why)
}

/// Tells the pressure how long hashes wait, once a second while any does.
async fn watch_queue(life: Life, users: Weak<Users>) {
    while let Some(users) = users.upgrade() {
        let queue = users.pressure();
        if queue.queued > 0 {
            life.pressure.waited(queue.wait);
        }
        drop(users);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Only the signing keys can change while the service runs; anything else that changed is said to need a restart.
fn reload(file: &Path, serving: &Config, users: &Users) -> Reloaded {
    let (service, watched) = match read(file) {
        Ok((_, service, watched)) => (service, watched),
        Err(report) => return Reloaded::failed(&report, Vec::new()),
    };
    let mut mistakes = Vec::new();
    if service != *serving {
        mistakes.push("the settings of the service changed: restart it to use them".to_owned());
    }
    mistakes.extend(users.reload_keys().err().map(|error| error.to_string()));
    Reloaded { watched, mistakes }
}
