//! A cache in front of the store: one load a key however many callers wait, a bound on the
//! number of entries, expiry with jitter, and no stale value after an invalidation.
//!
//! It must not know what it holds or where values come from: the caller brings the loader with
//! every call. A second level (Redis, Memcached) belongs into that loader, between this cache
//! and the store, so no layer is laid for it here.
//!
//! # Why a fill cannot be stale
//!
//! A reader that misses reads the old row; a writer commits and invalidates; only then the
//! reader's fill arrives. Removing the entry is not enough, because at that moment there is
//! none. So every key belongs to a *stripe* with a generation, entries are filed under
//! (key, generation), and an invalidation moves the stripe to its next generation *before* it
//! removes the entry. A fill that started earlier lands under the old generation, where nobody
//! looks any more, and callers who come after the invalidation start a load of their own
//! instead of joining the old one. There are at least as many stripes as entries, so an
//! invalidation costs about one other entry at most.

use std::collections::hash_map::RandomState;
use std::future::Future;
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use moka::Expiry;

/// How much a [`Cache`] holds and for how long.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// The most entries held, negative ones included.
    pub entries: u64,
    /// How long a value is served.
    pub ttl: Duration,
    /// How long the knowledge is served that there is no value.
    pub negative_ttl: Duration,
    /// The part of a time to live (0.0 to 1.0) that is drawn by lot for every entry, so that
    /// entries filled together do not expire together.
    pub jitter: f64,
}

/// What a cache did since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Look-ups answered from memory, negative entries included.
    pub hits: u64,
    /// Look-ups that ran a loader or waited for another caller's.
    pub misses: u64,
    /// Keys a loader was asked for.
    pub loads: u64,
    /// Entries held now (an estimate while many change).
    pub entries: u64,
}

/// A cache of `V` by `K`. Cheap values only: a hit clones, so wrap large ones in an `Arc`.
pub struct Cache<K, V> {
    entries: moka::future::Cache<Filed<K>, Option<V>>,
    generations: Box<[AtomicU64]>,
    hasher: RandomState,
    hits: AtomicU64,
    misses: AtomicU64,
    loads: AtomicU64,
}

impl<K, V> Cache<K, V>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// An empty cache.
    pub fn new(limits: Limits) -> Self {
        let stripes = limits.entries.clamp(1024, 1 << 20).next_power_of_two();
        Self {
            entries: moka::future::Cache::builder()
                .max_capacity(limits.entries)
                .expire_after(Lifetimes(limits))
                .build(),
            generations: (0..stripes).map(|_| AtomicU64::new(0)).collect(),
            hasher: RandomState::new(),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            loads: AtomicU64::new(0),
        }
    }

    /// The value of a key: from memory, or from `loader`, which runs once however many callers
    /// wait for the key. `Ok(None)` from the loader is remembered too, for the negative time.
    ///
    /// # Errors
    /// The loader's error, shared by the callers that waited for this load. It is not
    /// remembered: the next caller loads again.
    pub async fn get_or_load<F, E>(&self, key: K, loader: F) -> Result<Option<V>, Arc<E>>
    where
        F: Future<Output = Result<Option<V>, E>>,
        E: Send + Sync + 'static,
    {
        let filed = self.file(key);
        if let Some(found) = self.entries.get(&filed).await {
            self.hits.fetch_add(1, Ordering::Relaxed);
            return Ok(found);
        }
        self.misses.fetch_add(1, Ordering::Relaxed);
        let load = async {
            self.loads.fetch_add(1, Ordering::Relaxed);
            loader.await
        };
        let loaded = self.entries.try_get_with_by_ref(&filed, load).await?;
        self.drop_if_outdated(&filed).await;
        Ok(loaded)
    }

    /// The values of many keys, those not in memory through one call of `loader`, which gets
    /// the missing keys and returns what it found of them. Keys without a value are absent from
    /// the answer. Two callers may load the same key at once here; a stale fill is impossible
    /// all the same.
    ///
    /// # Errors
    /// The loader's error; what was in memory is then not returned either.
    pub async fn get_or_load_many<F, Fut, E>(
        &self,
        keys: Vec<K>,
        loader: F,
    ) -> Result<Vec<(K, V)>, E>
    where
        F: FnOnce(Vec<K>) -> Fut,
        Fut: Future<Output = Result<Vec<(K, V)>, E>>,
    {
        let asked = keys.len();
        let mut found = Vec::with_capacity(asked);
        let mut missing = Vec::new();
        for key in keys {
            let filed = self.file(key);
            match self.entries.get(&filed).await {
                Some(value) => found.extend(value.map(|value| (filed.key, value))),
                None => missing.push(filed),
            }
        }
        let hits = (asked - missing.len()) as u64;
        self.hits.fetch_add(hits, Ordering::Relaxed);
        if missing.is_empty() {
            return Ok(found);
        }
        let count = missing.len() as u64;
        self.misses.fetch_add(count, Ordering::Relaxed);
        self.loads.fetch_add(count, Ordering::Relaxed);
        let loaded = loader(missing.iter().map(|filed| filed.key.clone()).collect()).await?;
        for filed in missing {
            let value = loaded.iter().find(|(key, _)| *key == filed.key);
            let value = value.map(|(_, value)| value.clone());
            self.entries.insert(filed.clone(), value).await;
            self.drop_if_outdated(&filed).await;
        }
        found.extend(loaded);
        Ok(found)
    }

    /// Forgets a key. Call it after the change is committed: whoever asks afterwards sees the
    /// change, whatever loads are under way.
    pub async fn invalidate(&self, key: &K) {
        // Release: a reader that sees the new generation sees what was committed before it.
        let generation = self.generation(key).fetch_add(1, Ordering::AcqRel);
        let key = key.clone();
        self.entries.invalidate(&Filed { key, generation }).await;
    }

    /// What the cache did so far.
    pub fn stats(&self) -> Stats {
        Stats {
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            loads: self.loads.load(Ordering::Relaxed),
            entries: self.entries.entry_count(),
        }
    }

    fn file(&self, key: K) -> Filed<K> {
        let generation = self.generation(&key).load(Ordering::Acquire);
        Filed { key, generation }
    }

    fn generation(&self, key: &K) -> &AtomicU64 {
        let stripe = self.hasher.hash_one(key) as usize & (self.generations.len() - 1);
        &self.generations[stripe]
    }

    /// Nobody will look up a fill of a past generation: give its place back now.
    async fn drop_if_outdated(&self, filed: &Filed<K>) {
        if self.generation(&filed.key).load(Ordering::Acquire) != filed.generation {
            self.entries.invalidate(filed).await;
        }
    }
}

/// A key under the generation its stripe had when the look-up began.
#[derive(Clone, PartialEq, Eq)]
struct Filed<K> {
    key: K,
    generation: u64,
}

impl<K: Hash> Hash for Filed<K> {
    /// By the key alone: the admission policy counts by hash, and a popular key stays popular
    /// after an invalidation.
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key.hash(state);
    }
}

/// Draws the time to live of every entry.
struct Lifetimes(Limits);

impl Lifetimes {
    fn draw<V>(&self, value: Option<&V>) -> Duration {
        let ttl = match value {
            Some(_) => self.0.ttl,
            None => self.0.negative_ttl,
        };
        ttl.mul_f64(1.0 - self.0.jitter.clamp(0.0, 1.0) * rand::random::<f64>())
    }
}

impl<K, V> Expiry<Filed<K>, Option<V>> for Lifetimes {
    fn expire_after_create(&self, _: &Filed<K>, value: &Option<V>, _: Instant) -> Option<Duration> {
        Some(self.draw(value.as_ref()))
    }

    fn expire_after_update(
        &self,
        _: &Filed<K>,
        value: &Option<V>,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(self.draw(value.as_ref()))
    }
}

#[cfg(test)]
mod tests;
