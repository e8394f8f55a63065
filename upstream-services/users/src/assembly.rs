//! What the services are put together from, in one process or in one for each part.

use std::sync::Arc;

use cache::Remote;
use store::{Store, Time};

use crate::accounts::Accounts;
use crate::admins::Admins;
use crate::config::{BootstrapConfig, RecoveryConfig};
use crate::hashing::Hasher;
use crate::history::History;
use crate::metrics::{HashMetrics, Metrics, Observed, ObservedRemote, reader};
use crate::parts::{Authenticates, Part, Peer, RemoteAccounts, RemoteSessions, SessionStates};
use crate::profiles::Profiles;
use crate::recovery::Recovery;
use crate::sessions::{Sessions, StoredSessions};
use crate::{Config, Error};

/// Whether a process does the work of a part: its own, or, when it is none of them, all.
pub(crate) fn includes(process: Option<Part>, part: Part) -> bool {
    process.is_none_or(|own| own == part)
}

/// What hashes passwords: the accounts alone have threads for it.
pub(crate) fn hasher(
    config: &Config,
    part: Option<Part>,
    registry: &prometheus::Registry,
) -> Result<Hasher, Error> {
    let metrics = HashMetrics::register(registry)?;
    match includes(part, Part::Accounts) {
        true => Hasher::start(&config.hash, metrics),
        false => Hasher::idle(&config.hash, metrics),
    }
}

/// Whom logins are judged by.
pub(crate) fn authenticator(
    config: &Config,
    part: Option<Part>,
    accounts: &Arc<Accounts>,
) -> Result<Arc<dyn Authenticates>, Error> {
    Ok(match includes(part, Part::Accounts) {
        true => accounts.clone(),
        false => Arc::new(RemoteAccounts(peer(config, Part::Accounts)?)),
    })
}

/// What sends messages to who has forgotten a password; nothing but in the accounts.
pub(crate) fn recovery(
    config: &Config,
    part: Option<Part>,
    store: &Arc<Store>,
    metrics: &Metrics,
) -> Result<Recovery, Error> {
    let settings = match includes(part, Part::Accounts) {
        true => config.recovery.clone(),
        false => RecoveryConfig::default(),
    };
    Recovery::start(store.clone(), &settings, metrics.recoveries.clone())
}

/// A part in another process.
fn peer(config: &Config, part: Part) -> Result<Arc<Peer>, Error> {
    let services = config.services.as_ref().ok_or(Error::Config {
        key: "services",
        why: "are missing: where are the other parts?",
    })?;
    let url = services.part(part).url();
    Ok(Peer::new(part, &url, &services.secret))
}

/// Who knows whether sessions are open.
pub(crate) fn session_states(
    config: &Config,
    part: Option<Part>,
    store: &Arc<Store>,
) -> Result<Arc<dyn SessionStates>, Error> {
    Ok(match includes(part, Part::Sessions) {
        true => Arc::new(StoredSessions(store.clone())),
        false => Arc::new(RemoteSessions(peer(config, Part::Sessions)?)),
    })
}

/// The servers of the shared cache, if there are any.
pub(crate) fn remote(config: &Config) -> Result<Option<Arc<Remote>>, Error> {
    let remote = config.cache.remote.as_ref();
    let remote = remote.map(|remote| Remote::open(remote.options()));
    Ok(remote.transpose()?)
}

/// Makes the first administrator, if one is wanted; who is still wanted when that cannot be said now: a shard is away, and the
/// first one may be on it.
pub(crate) async fn first_administrator(
    config: &Config,
    part: Option<Part>,
    (admins, accounts): (&Admins, &Accounts),
    now: Time,
) -> Result<Option<BootstrapConfig>, Error> {
    let (Some(wanted), true) = (&config.bootstrap, includes(part, Part::Accounts)) else {
        return Ok(None);
    };
    match admins.bootstrap(accounts, wanted, now).await {
        Ok(()) => Ok(None),
        Err(error) if error.is_passing() => {
            tracing::warn!(%error, "whether there is an administrator is looked for when every shard is there");
            Ok(Some(wanted.clone()))
        }
        Err(error) => Err(error),
    }
}

/// What is read through the cache.
pub(crate) fn cached(
    config: &Config,
    store: &Arc<Store>,
    states: &Arc<dyn SessionStates>,
    (remote, ends_sessions): (Option<&Arc<Remote>>, bool),
    history: &Arc<History>,
    metrics: &Metrics,
) -> (Profiles, Sessions) {
    let lag_bound = *config.data.lag_bound;
    let limits = config.cache.profile_limits(lag_bound);
    let profiles = Profiles::new(store.clone(), limits, remote.cloned(), history.clone());
    let mut limits = config.cache.session_limits(lag_bound);
    if !ends_sessions {
        // What another process ends is to be refused at once: only the shared servers are asked.
        limits.entries = 0;
    }
    let (ttl, reuse) = (*config.tokens.refresh_ttl, metrics.reuse.clone());
    let sessions = Sessions::new(
        store.clone(),
        states.clone(),
        (limits, remote.cloned()),
        history.clone(),
        ttl,
        reuse,
    );
    (profiles, sessions)
}

/// Registers what others count.
pub(crate) fn observe(
    registry: &prometheus::Registry,
    hasher: &Arc<Hasher>,
    (profiles, sessions): (&Profiles, &Sessions),
    remote: Option<&Arc<Remote>>,
) -> Result<(), Error> {
    let observed = hasher.clone();
    let caches = vec![
        ("profiles", reader(profiles.cache())),
        ("sessions", reader(sessions.cache())),
    ];
    Observed::register(registry, Box::new(move || observed.pressure()), caches)?;
    if let Some(remote) = remote {
        ObservedRemote::register(registry, remote.clone())?;
    }
    Ok(())
}
