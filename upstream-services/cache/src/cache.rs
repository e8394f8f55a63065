//! Both levels, and the source behind them.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use futures::future::{BoxFuture, join_all};

use crate::hot::Hot;
use crate::near::{Filed, Held, Near};
use crate::remote::{Lease, Listener, Look, Remote};
use crate::{Limits, Mark, Need, Pairs, Seen, Source, Stats};

/// A cache in front of a source. Clones share it.
pub struct Cache<S: Source>(Arc<Inner<S>>);

struct Inner<S: Source> {
    source: S,
    limits: Limits,
    near: Near<S::Key, S::Value>,
    hot: Hot<S::Key>,
    remote: Option<Arc<Remote>>,
    /// Whether other processes' invalidations are heard.
    heard: AtomicBool,
    counts: Counts,
}

#[derive(Default)]
struct Counts {
    hits: AtomicU64,
    stale: AtomicU64,
    misses: AtomicU64,
    remote_hits: AtomicU64,
    loads: AtomicU64,
}

/// How long an entry is kept in memory while nobody tells what other processes change.
const UNHEARD: Duration = Duration::from_secs(1);
/// How often, and how long each time, a fill by another process is waited for.
const WAITS: usize = 5;
const WAIT: Duration = Duration::from_millis(10);

impl<S: Source> Cache<S> {
    /// An empty cache in memory, and before what other processes have put into a remote.
    pub fn new(source: S, limits: Limits, remote: Option<Arc<Remote>>) -> Self {
        let inner = Arc::new(Inner {
            near: Near::new(&limits),
            hot: Hot::new(),
            source,
            limits,
            // Without a remote no other process is expected.
            heard: AtomicBool::new(remote.is_none()),
            remote,
            counts: Counts::default(),
        });
        if let Some(remote) = &inner.remote {
            let listener: Arc<dyn Listener> = inner.clone();
            remote.add_listener(S::NAME, &listener);
        }
        Self(inner)
    }

    /// The value of a key.
    ///
    /// # Errors
    /// The source's, shared by the callers that waited for this load. It is not remembered: the next caller loads again.
    pub async fn get(&self, key: S::Key) -> Result<Option<S::Value>, Arc<S::Error>> {
        self.get_seen(key, &Seen::default()).await
    }

    /// The value of a key for somebody who has seen something of it: nothing older than that.
    ///
    /// # Errors
    /// As [`Cache::get`].
    pub async fn get_seen(
        &self,
        key: S::Key,
        seen: &Seen,
    ) -> Result<Option<S::Value>, Arc<S::Error>> {
        let inner = &self.0;
        let filed = inner.near.file(key);
        let mut too_old = false;
        if let Some(held) = inner.held(&filed).await {
            // That there is none was asked of the primary, and is remembered for its time.
            let none = held.value.is_none() && held.is_latest() && seen.version <= 1;
            if none || reaches::<S>(held.value.as_ref(), seen) {
                self.count_hit(&filed, &held);
                return Ok(held.value.clone());
            }
            too_old = true;
        }
        inner.counts.misses.fetch_add(1, Relaxed);
        if too_old {
            inner.near.remove(&filed).await;
        }
        // The first flight may be somebody's who has seen less.
        for _ in 0..2 {
            let own = AtomicBool::new(false);
            let load = async {
                own.store(true, Relaxed);
                let (key, seen) = (filed.key.clone(), seen.clone());
                let load =
                    |inner: Arc<Inner<S>>| async move { inner.load(key, &seen, Anew::No).await };
                inner.to_the_end(load).await
            };
            let held = inner.near.get_or_load(&filed, load).await?;
            if own.into_inner() || reaches::<S>(held.value.as_ref(), seen) {
                return Ok(held.value.clone());
            }
            inner.near.remove(&filed).await;
        }
        let (key, seen) = (filed.key, seen.clone());
        let load = |inner: Arc<Inner<S>>| async move { inner.load(key, &seen, Anew::No).await };
        let held = inner.to_the_end(load).await?;
        Ok(held.value.clone())
    }

    /// The values of many keys, of those that have one. Two callers may load the same key at once here.
    ///
    /// # Errors
    /// The source's; what was found is then not returned either.
    pub async fn get_many(&self, keys: Vec<S::Key>) -> Result<Pairs<S>, S::Error> {
        let inner = &self.0;
        let mut found = Vec::with_capacity(keys.len());
        let mut missing = Vec::new();
        for key in keys {
            let filed = inner.near.file(key);
            match inner.held(&filed).await {
                Some(held) => {
                    self.count_hit(&filed, &held);
                    found.extend(held.value.clone().map(|value| (filed.key, value)));
                }
                None => missing.push(filed),
            }
        }
        if !missing.is_empty() {
            inner.counts.misses.fetch_add(missing.len() as u64, Relaxed);
            let load = |inner: Arc<Inner<S>>| async move { inner.load_missing(missing).await };
            found.extend(inner.to_the_end(load).await?);
        }
        Ok(found)
    }

    /// Forgets a key, everywhere. Call it after the change is committed: whoever asks afterwards sees the
    /// change, whatever loads are under way. The mark says how new a reader of the source has to be for that.
    pub async fn invalidate(&self, key: &S::Key, mark: Option<Mark>) {
        let inner = &self.0;
        if let Some(remote) = &inner.remote {
            let (name, marks) = (key.to_string(), inner.limits.marks);
            remote
                .delete(S::NAME, &name, mark.clone().into(), marks)
                .await;
        }
        // Last: until here the remote could still be read.
        inner.near.forget(key, mark.into()).await;
    }

    /// Forgets a key if what is kept of it is older than a version: for whoever hears of a change from elsewhere, when it
    /// may have been told already.
    pub async fn forget_older(&self, key: &S::Key, version: u64, mark: Option<Mark>) {
        let inner = &self.0;
        let seen = Seen {
            version,
            mark: None,
        };
        let near = inner.near.get(&inner.near.file(key.clone())).await;
        let mut old = near.is_some_and(|held| !reaches::<S>(held.value.as_ref(), &seen));
        if let Some(remote) = &inner.remote
            && let Some(json) = remote.peek(S::NAME, &key.to_string()).await
        {
            let value: Option<S::Value> = json.and_then(|json| serde_json::from_slice(&json).ok());
            old |= !reaches::<S>(value.as_ref(), &seen);
        }
        if old {
            self.invalidate(key, mark).await;
        }
    }

    /// What the cache did so far.
    pub fn stats(&self) -> Stats {
        let counts = &self.0.counts;
        Stats {
            hits: counts.hits.load(Relaxed),
            stale: counts.stale.load(Relaxed),
            misses: counts.misses.load(Relaxed),
            remote_hits: counts.remote_hits.load(Relaxed),
            loads: counts.loads.load(Relaxed),
            entries: self.0.near.len(),
            hot: self.0.hot.count(),
        }
    }

    fn count_hit(&self, filed: &Filed<S::Key>, held: &Arc<Held<S::Value>>) {
        self.0.counts.hits.fetch_add(1, Relaxed);
        self.0.hot.note(&filed.key);
        if !held.is_fresh() {
            self.0.counts.stale.fetch_add(1, Relaxed);
        } else if !held.is_ageing() || !self.0.hot.is_hot(&filed.key) {
            return;
        }
        if held.begin_refresh() {
            let (inner, filed, held) = (self.0.clone(), filed.clone(), held.clone());
            tokio::spawn(async move {
                match inner
                    .load(filed.key.clone(), &Seen::default(), Anew::Yes)
                    .await
                {
                    Ok(new) => inner.near.insert(&filed, new).await,
                    Err(_) => held.end_refresh(),
                }
            });
        }
    }
}

impl<S: Source> Inner<S> {
    /// What memory has of a key and may be served.
    async fn held(&self, filed: &Filed<S::Key>) -> Option<Arc<Held<S::Value>>> {
        let held = self.near.get(filed).await?;
        if self.heard.load(Relaxed) || held.age() < UNHEARD {
            return Some(held);
        }
        self.near.remove(filed).await;
        None
    }

    /// Runs a load to its end even if the caller leaves meanwhile: other processes wait for what it has a lease to fill.
    async fn to_the_end<T, F>(self: &Arc<Self>, load: impl FnOnce(Arc<Self>) -> F) -> T
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let load = load(self.clone());
        if self.remote.is_none() {
            return load.await; // and there are no leases
        }
        match tokio::spawn(load).await {
            Ok(loaded) => loaded,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime ends, and the caller with it.
                Err(_) => std::future::pending().await,
            },
        }
    }

    /// Loads a key from the remote, or else from the source.
    async fn load(
        &self,
        key: S::Key,
        seen: &Seen,
        anew: Anew,
    ) -> Result<Arc<Held<S::Value>>, S::Error> {
        let Missing { need, lease } = match self.look(&key, seen, anew).await {
            Ok(held) => return Ok(held),
            Err(missing) => missing,
        };
        let loaded = self.load_new(key.clone(), seen, need).await;
        match (&loaded, lease) {
            (Ok(held), Some(lease)) => self.fill(&key, lease, held).await,
            (Ok(_), None) => {}
            (Err(_), lease) => self.give_back(&key, lease).await,
        }
        loaded
    }

    /// What the remote has of a key, if it is new enough.
    async fn look(
        &self,
        key: &S::Key,
        seen: &Seen,
        anew: Anew,
    ) -> Result<Arc<Held<S::Value>>, Missing> {
        let mut missing = Missing {
            need: self.near.mark(key).await,
            lease: None,
        };
        let Some(remote) = &self.remote else {
            return Err(missing);
        };
        let name = key.to_string();
        for _ in 0..WAITS {
            match remote.look(S::NAME, &name).await {
                Look::Found(entry, left, lease) => {
                    let value = entry.map(|json| serde_json::from_slice(&json)).transpose();
                    return match value {
                        // A server may have missed a deletion that was heard of here.
                        Ok(value)
                            if anew == Anew::No
                                && !left.is_zero()
                                && missing.need == Need::Any
                                && value.as_ref().is_none_or(|value| S::fits(key, value))
                                && reaches::<S>(value.as_ref(), seen) =>
                        {
                            self.counts.remote_hits.fetch_add(1, Relaxed);
                            Ok(self.hold(value, left))
                        }
                        _ => {
                            missing.lease = Some(lease);
                            Err(missing)
                        }
                    };
                }
                Look::Vacant(lease) => {
                    missing.lease = Some(lease);
                    break;
                }
                Look::Deleted(need, lease) => {
                    missing.need = missing.need.and(need);
                    missing.lease = Some(lease);
                    break;
                }
                Look::Taken => tokio::time::sleep(WAIT).await,
                Look::Unavailable => break,
            }
        }
        Err(missing)
    }

    /// Asks the source, for nothing older than what was seen.
    async fn load_new(
        &self,
        key: S::Key,
        seen: &Seen,
        need: Need,
    ) -> Result<Arc<Held<S::Value>>, S::Error> {
        let need = need.and(seen.mark.clone().into());
        self.counts.loads.fetch_add(1, Relaxed);
        let value = self.source.load(key.clone(), need.clone()).await?;
        let latest = need == Need::Latest;
        if latest || reaches::<S>(value.as_ref(), seen) {
            return Ok(Held::new(
                value.clone(),
                self.limits.draw(value.is_some()),
                latest,
            ));
        }
        self.counts.loads.fetch_add(1, Relaxed);
        let value = self.source.load(key, Need::Latest).await?;
        Ok(Held::new(
            value.clone(),
            self.limits.draw(value.is_some()),
            true,
        ))
    }

    /// Loads what memory does not have.
    async fn load_missing(&self, missing: Vec<Filed<S::Key>>) -> Result<Pairs<S>, S::Error> {
        let seen = Seen::default();
        let looked = join_all(
            missing
                .iter()
                .map(|filed| self.look(&filed.key, &seen, Anew::No)),
        )
        .await;
        let mut loaded = match self.load_many(&missing, &looked).await {
            Ok(loaded) => loaded,
            Err(error) => {
                self.give_all_back(&missing, looked).await;
                return Err(error);
            }
        };
        let mut found = Vec::new();
        let mut fills = Vec::new();
        let mut failed = None;
        for (filed, looked) in missing.into_iter().zip(looked) {
            let (held, lease) = match looked {
                Ok(held) => (held, None),
                Err(Missing {
                    need: Need::Any,
                    lease,
                }) => (self.hold(loaded.remove(&filed.key), Duration::MAX), lease),
                Err(Missing { need, lease }) => {
                    let loaded = match failed {
                        Some(_) => None,
                        None => {
                            let loaded = self.load_new(filed.key.clone(), &seen, need).await;
                            loaded.map_err(|error| failed = Some(error)).ok()
                        }
                    };
                    let Some(held) = loaded else {
                        self.give_back(&filed.key, lease).await;
                        continue;
                    };
                    (held, lease)
                }
            };
            self.near.insert(&filed, held.clone()).await;
            found.extend(held.value.clone().map(|value| (filed.key.clone(), value)));
            fills.extend(lease.map(|lease| (filed.key, lease, held)));
        }
        let fills = fills.iter_mut().map(|(key, lease, held)| {
            let lease = std::mem::take(lease);
            self.fill(key, lease, held)
        });
        join_all(fills).await;
        failed.map_or(Ok(found), Err)
    }

    /// Asks the source for all that the remote does not have and that may be of any age.
    async fn load_many(
        &self,
        missing: &[Filed<S::Key>],
        looked: &[Looked<S>],
    ) -> Result<HashMap<S::Key, S::Value>, S::Error> {
        let any = |looked: &Looked<S>| matches!(looked, Err(missing) if missing.need == Need::Any);
        let asked = missing.iter().zip(looked);
        let asked = asked.filter(|(_, looked)| any(looked));
        let asked: Vec<_> = asked.map(|(filed, _)| filed.key.clone()).collect();
        if asked.is_empty() {
            return Ok(HashMap::new());
        }
        self.counts.loads.fetch_add(asked.len() as u64, Relaxed);
        Ok(self.source.load_many(asked).await?.into_iter().collect())
    }

    async fn fill(&self, key: &S::Key, lease: Lease, held: &Held<S::Value>) {
        let Some(remote) = &self.remote else { return };
        let json = held.value.as_ref().map(serde_json::to_vec).transpose();
        // What JSON cannot say is not shared.
        if let Ok(json) = json {
            remote
                .fill(S::NAME, &key.to_string(), lease, json, held.fresh())
                .await;
        }
    }

    /// Lets others have a lease that nothing came of.
    async fn give_back(&self, key: &S::Key, lease: Option<Lease>) {
        if let (Some(remote), Some(lease)) = (&self.remote, lease) {
            remote.give_back(S::NAME, &key.to_string(), lease).await;
        }
    }

    async fn give_all_back(&self, missing: &[Filed<S::Key>], looked: Vec<Looked<S>>) {
        let leases = missing.iter().zip(looked).map(|(filed, looked)| {
            self.give_back(&filed.key, looked.err().and_then(|missing| missing.lease))
        });
        join_all(leases).await;
    }

    /// An entry, for no longer than is left of what it comes from.
    fn hold(&self, value: Option<S::Value>, left: Duration) -> Arc<Held<S::Value>> {
        let fresh = self.limits.draw(value.is_some()).min(left);
        Held::new(value, fresh, false)
    }
}

/// Whether what the remote has is to be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Anew {
    Yes,
    No,
}

/// What the remote has, or why it has to be loaded.
type Looked<S> = Result<Arc<Held<<S as Source>::Value>>, Missing>;

/// Why a value has to be loaded, and how.
struct Missing {
    need: Need,
    /// That this caller may fill the remote.
    lease: Option<Lease>,
}

/// Whether a value is no older than what was seen.
fn reaches<S: Source>(value: Option<&S::Value>, seen: &Seen) -> bool {
    value.map_or(0, S::version) >= seen.version
}

impl<S: Source> Listener for Inner<S> {
    fn forget<'a>(&'a self, key: &'a str, need: Need) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let key: Option<S::Key> = key.parse().ok();
            if let Some(key) = key {
                self.near.forget(&key, need).await;
            }
        })
    }

    fn heard(&self, heard: bool) {
        if heard {
            // What was said before is not known.
            self.near.forget_all();
        }
        self.heard.store(heard, Relaxed);
    }
}

impl<S: Source> Clone for Cache<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

#[cfg(test)]
mod tests;
