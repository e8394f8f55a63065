//! Zones that come from primaries: what is there of them, and the tasks that keep it up to date.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use tokio::sync::{Notify, Semaphore};
use tokio::task::AbortHandle;

use super::pull::{PullError, fetch, serial};
use super::receive::Got;
use super::request::chance;
use super::rules::{IncomingLimits, Peer, Source, Transfers};
use super::schedule::Schedule;
use super::store;
use super::version::{Version, is_newer};
use crate::answer::{self, NoPolicies};
use crate::learned::Learned;
use crate::wire::rtype::DNSKEY;
use crate::zone::{self, Name, Zone};

/// The zones that come from primaries. They outlive reloads.
#[derive(Debug)]
pub(crate) struct Secondaries {
    known: Mutex<BTreeMap<Name, Arc<Secondary>>>,
    /// So that a thousand zones do not take a thousand descriptors.
    looks: Arc<Semaphore>,
}

impl Default for Secondaries {
    fn default() -> Self {
        Self {
            known: Mutex::default(),
            looks: Arc::new(Semaphore::new(MOST_LOOKS)),
        }
    }
}

/// One of them.
#[derive(Debug)]
pub(super) struct Secondary {
    apex: Name,
    held: Mutex<Held>,
    /// A primary says that there is a new version, or somebody wants to know.
    pub(super) wanted: Notify,
}

/// What is known of a zone.
#[derive(Debug, Default)]
struct Held {
    source: Option<Source>,
    limits: IncomingLimits,
    version: Option<Arc<Version>>,
    /// The same, as it is served.
    zone: Option<Arc<Zone>>,
    schedule: Schedule,
    /// Whether the answers say that it has expired.
    told_expired: bool,
    /// Why the last look failed.
    error: Option<String>,
    /// Versions that came as a whole.
    whole: u64,
    /// Versions that came as changes of the one before.
    changes: u64,
    /// Looks that failed.
    failures: u64,
    task: Option<AbortHandle>,
}

/// How a version came.
#[derive(Clone, Copy, Debug)]
enum Form {
    Whole,
    Changes,
}

/// What operators see of a zone.
#[derive(Clone, Debug, serde::Serialize)]
pub(crate) struct SecondaryReport {
    /// Its name.
    pub(crate) zone: String,
    /// Its version; none before the first came.
    pub(crate) serial: Option<u32>,
    /// Whether it is served.
    pub(crate) served: bool,
    /// Seconds since the primary was heard.
    pub(crate) heard_seconds: Option<u64>,
    /// Seconds until it is served no more, unless the primary is heard.
    pub(crate) expires_seconds: Option<u64>,
    /// Versions that came as a whole since the start.
    pub(crate) whole: u64,
    /// Versions that came as changes of the one before since the start.
    pub(crate) changes: u64,
    /// Looks that failed since the start.
    pub(crate) failures: u64,
    /// Why the last look failed.
    pub(crate) error: Option<String>,
}

/// Within so long after the start every primary is asked.
const FIRST_LOOKS: Duration = Duration::from_secs(2);
/// Zones that look at their primaries at a time.
const MOST_LOOKS: usize = 100;
/// Between two looks, however often somebody asks for one.
const SPACING: Duration = Duration::from_millis(500);

impl Secondaries {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Name, Arc<Secondary>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, apex: &[u8]) -> Option<Arc<Secondary>> {
        self.lock().get(apex).cloned()
    }

    /// Reads the copies of zones that are not known yet; what cannot be read.
    pub(crate) fn restore(&self, transfers: &Transfers) -> Vec<String> {
        let mut unreadable = Vec::new();
        for (apex, source) in transfers.sources() {
            if self.get(apex).is_some() {
                continue;
            }
            let secondary = Secondary::new(apex.clone());
            match secondary.restore(&source.file) {
                Ok(()) => {}
                Err(error) => unreadable.push(format!(
                    "the copy of `{apex}` in {} cannot be used: {error}",
                    source.file.display()
                )),
            }
            self.lock().insert(apex.clone(), Arc::new(secondary));
        }
        unreadable
    }

    /// Reads the copies of zones again; what cannot be read is as it was.
    pub(crate) fn reread(&self, transfers: &Transfers) {
        for (apex, source) in transfers.sources() {
            let known = self.get(apex);
            if let Some(Err(error)) = known.map(|secondary| secondary.restore(&source.file)) {
                tracing::error!(zone = %apex, %error, "a newer copy may be there");
            }
        }
    }

    /// Has a configuration's zones looked after from now on, and no others.
    pub(crate) fn apply(&self, transfers: &Transfers, learned: &Arc<Learned>) {
        store::sweep(transfers.sources().map(|(_, source)| &*source.file));
        let mut known = self.lock();
        known.retain(|apex, secondary| {
            let stays = transfers.sources().any(|(other, _)| other == apex);
            if !stays {
                secondary.end();
            }
            stays
        });
        for (apex, source) in transfers.sources() {
            let secondary = known.entry(apex.clone());
            let secondary = secondary.or_insert_with(|| Arc::new(Secondary::new(apex.clone())));
            secondary.follow(source, transfers.incoming, learned, &self.looks);
        }
    }

    /// Ends all tasks: another process looks after the zones.
    pub(crate) fn leave(&self) {
        self.lock().values().for_each(|secondary| secondary.end());
    }

    /// The records of a zone; none when there are none to be served.
    pub(crate) fn zone(&self, apex: &[u8]) -> Option<Arc<Zone>> {
        let secondary = self.get(apex)?;
        let mut held = secondary.lock();
        held.told_expired = held.schedule.is_expired(SystemTime::now());
        held.zone.clone().filter(|_| !held.told_expired)
    }

    /// The version of a zone, unless it has expired.
    pub(super) fn version(&self, apex: &[u8]) -> Option<Arc<Version>> {
        let secondary = self.get(apex)?;
        let held = secondary.lock();
        let expired = held.schedule.is_expired(SystemTime::now());
        held.version.clone().filter(|_| !expired)
    }

    /// What operators see.
    pub(crate) fn report(&self) -> Vec<SecondaryReport> {
        let known: Vec<_> = self.lock().values().cloned().collect();
        known.iter().map(|secondary| secondary.report()).collect()
    }
}

impl Secondary {
    fn new(apex: Name) -> Self {
        Self {
            apex,
            held: Mutex::default(),
            wanted: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn restore(&self, file: &Path) -> Result<(), String> {
        let read = store::read(file, &self.apex).map_err(|error| error.to_string())?;
        let Some((version, heard)) = read else {
            return Ok(());
        };
        let zone = judge(&version)?;
        let mut held = self.lock();
        held.schedule = Schedule {
            times: version.soa.times(),
            heard: Some(heard),
            failures: 0,
        };
        held.zone = Some(zone);
        held.version = Some(Arc::new(version));
        Ok(())
    }

    fn follow(
        self: &Arc<Self>,
        source: &Source,
        limits: IncomingLimits,
        learned: &Arc<Learned>,
        looks: &Arc<Semaphore>,
    ) {
        let mut held = self.lock();
        let addresses = |source: &Source| -> Vec<_> {
            let primaries = source.primaries.iter();
            primaries.map(|peer| (peer.address, peer.from)).collect()
        };
        let moved = held.source.as_ref().map(addresses) != Some(addresses(source));
        held.source = Some(source.clone());
        held.limits = limits;
        match &held.task {
            None => {
                let keeping = keep(self.clone(), Arc::downgrade(learned), looks.clone());
                held.task = Some(tokio::spawn(keeping).abort_handle());
            }
            Some(_) if moved => self.wanted.notify_one(),
            Some(_) => {}
        }
    }

    /// A primary says that it has a version; which one, it need not say.
    pub(super) fn hear_of(&self, serial: Option<u32>) {
        let ours = self.lock().version.as_ref().map(|version| version.serial());
        let is_known = ours
            .zip(serial)
            .is_some_and(|(ours, serial)| !is_newer(serial, ours));
        if !is_known {
            self.wanted.notify_one();
        }
    }

    fn end(&self) {
        if let Some(task) = self.lock().task.take() {
            task.abort();
        }
    }

    fn report(&self) -> SecondaryReport {
        let now = SystemTime::now();
        let held = self.lock();
        let expires = held.schedule.expires();
        let heard = held.schedule.heard;
        let since = heard.map(|heard| now.duration_since(heard).unwrap_or_default());
        let until = expires.map(|expires| expires.duration_since(now).unwrap_or_default());
        SecondaryReport {
            zone: self.apex.to_string(),
            serial: held.version.as_ref().map(|version| version.serial()),
            served: held.zone.is_some() && !held.schedule.is_expired(now),
            heard_seconds: since.map(|since| since.as_secs()),
            expires_seconds: until.map(|until| until.as_secs()),
            whole: held.whole,
            changes: held.changes,
            failures: held.failures,
            error: held.error.clone(),
        }
    }

    /// Until the first look: those who have a version need not ask all at once.
    fn first_pause(&self) -> Duration {
        match self.lock().version {
            Some(_) => FIRST_LOOKS.mul_f64(chance()),
            None => Duration::ZERO,
        }
    }

    /// When to look next.
    fn next_look(&self) -> tokio::time::Instant {
        let pause = self.lock().schedule.pause(SystemTime::now(), chance());
        tokio::time::Instant::now() + pause
    }

    /// Until the zone expires; for ever when that is told already.
    fn until_expiry(&self) -> Duration {
        let held = self.lock();
        let expires = held.schedule.expires().filter(|_| !held.told_expired);
        let until = |at: SystemTime| at.duration_since(SystemTime::now()).unwrap_or_default();
        expires.map_or(Duration::MAX, until)
    }

    /// Looks at the primaries, one after the other, until one is of use. Whether the answers change.
    async fn look(&self) -> bool {
        let (source, limits, version) = {
            let held = self.lock();
            let Some(source) = held.source.clone() else {
                return false;
            };
            (source, held.limits, held.version.clone())
        };
        let mut errors = Vec::new();
        for peer in &source.primaries {
            match self.look_at(peer, version.clone(), &limits).await {
                Ok(None) => {
                    let was_expired = self.lock().told_expired;
                    let heard = self.heard(None);
                    if let Err(error) = store::touch(&source.file, heard) {
                        tracing::warn!(zone = %self.apex, %error, "the copy's time is not kept");
                    }
                    return was_expired;
                }
                Ok(Some(found)) => match self.accept(found, peer, &source.file).await {
                    Ok(()) => return true,
                    Err(why) => errors.push(format!("{}: {why}", peer.address)),
                },
                Err(error) => errors.push(format!("{}: {error}", peer.address)),
            }
        }
        let error = errors.join("; ");
        tracing::warn!(zone = %self.apex, error, "the zone cannot be refreshed");
        let mut held = self.lock();
        held.schedule.failures = held.schedule.failures.saturating_add(1);
        held.failures += 1;
        held.error = Some(error);
        false
    }

    /// A later version that a primary has; none when there is none.
    async fn look_at(
        &self,
        peer: &Peer,
        version: Option<Arc<Version>>,
        limits: &IncomingLimits,
    ) -> Result<Option<(Version, Form)>, PullError> {
        if let Some(version) = &version {
            let theirs = serial(&self.apex, peer, limits).await?;
            if !is_newer(theirs, version.serial()) {
                if theirs != version.serial() {
                    let ours = version.serial();
                    tracing::warn!(zone = %self.apex, primary = %peer.address, theirs, ours, "the primary has an earlier version");
                }
                return Ok(None);
            }
        }
        let ours = version.as_ref().map(|version| version.serial());
        let first = fetch(&self.apex, peer, version.clone(), limits).await;
        let got = match first {
            // Not every server has changes, and not every change fits.
            Err(error) if version.is_some() && error.is_about_changes() => {
                tracing::info!(zone = %self.apex, primary = %peer.address, %error, "no changes (IXFR): the whole zone is fetched");
                fetch(&self.apex, peer, None, limits).await?
            }
            outcome => outcome?,
        };
        let (version, form) = match got {
            Got::UpToDate => return Ok(None),
            Got::Changed(version) => (version, Form::Changes),
            Got::Whole(version) => (version, Form::Whole),
        };
        let theirs = version.serial();
        match ours {
            Some(ours) if !is_newer(theirs, ours) => Err(PullError::NotLater { theirs, ours }),
            _ => Ok(Some((version, form))),
        }
    }

    /// Takes a version that is sound.
    async fn accept(
        &self,
        (version, form): (Version, Form),
        peer: &Peer,
        file: &Path,
    ) -> Result<(), String> {
        let version = Arc::new(version);
        let (judged, path) = (version.clone(), file.to_owned());
        let zone = tokio::task::spawn_blocking(move || {
            let zone = judge(&judged)?;
            let kept = store::write(&path, &judged);
            Ok::<_, String>((zone, kept))
        });
        let (zone, kept) = zone.await.map_err(|error| error.to_string())??;
        if let Err(error) = kept {
            tracing::error!(zone = %self.apex, file = %file.display(), %error, "the copy is not kept");
        }
        let (serial, records) = (version.serial(), version.records.len() + 1);
        tracing::info!(zone = %self.apex, primary = %peer.address, serial, records, "a new version");
        if zone.set(&self.apex, DNSKEY).is_some() {
            tracing::warn!(zone = %self.apex, "the zone is signed, and served without signatures in answers: validators refuse them if its parent has DS records");
        }
        self.heard(Some((version, zone, form)));
        Ok(())
    }

    /// Notes that a primary was heard, and a new version.
    fn heard(&self, new: Option<(Arc<Version>, Arc<Zone>, Form)>) -> SystemTime {
        let now = SystemTime::now();
        // Freed after the lock: that takes long for a large zone.
        let _before;
        let mut held = self.lock();
        if let Some((version, zone, form)) = new {
            held.schedule.times = version.soa.times();
            _before = (held.zone.replace(zone), held.version.replace(version));
            match form {
                Form::Whole => held.whole += 1,
                Form::Changes => held.changes += 1,
            }
        }
        held.schedule.heard = Some(now);
        held.schedule.failures = 0;
        held.error = None;
        now
    }
}

/// Keeps a zone up to date.
async fn keep(secondary: Arc<Secondary>, learned: Weak<Learned>, looks: Arc<Semaphore>) {
    let tell = || {
        if let Some(learned) = learned.upgrade() {
            learned.tell();
        }
    };
    // Whatever happened while no process looked, or another one did.
    let mut next = tokio::time::Instant::now() + secondary.first_pause();
    loop {
        loop {
            let expires = secondary.until_expiry();
            tokio::select! {
                () = secondary.wanted.notified() => break,
                () = tokio::time::sleep_until(next) => break,
                () = tokio::time::sleep(expires) => {
                    tracing::error!(zone = %secondary.apex, "the zone has expired: no primary was heard for too long");
                    tell();
                    // The answers are compiled meanwhile.
                    tokio::time::sleep(SPACING).await;
                }
            }
        }
        // It is never closed.
        let look = looks.acquire().await;
        if secondary.look().await {
            tell();
        }
        drop(look);
        tokio::time::sleep(SPACING).await;
        next = secondary.next_look();
    }
}
/// The records of a version, when all of them can be answered: a set that is longer than a message cannot.
fn judge(version: &Version) -> Result<Arc<Zone>, String> {
    let zone = zone::judge_received(version.to_zone(Default::default()))?;
    let zone = Arc::new(zone);
    answer::compile(std::slice::from_ref(&zone), Arc::new(NoPolicies)).map_err(|mistakes| {
        let first = mistakes.into_iter().next();
        first.map_or_else(String::new, |mistake| mistake.message)
    })?;
    Ok(zone)
}
