//! The level in memory.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use moka::Expiry;

use crate::{Limits, Need};

/// Entries of this process.
pub(crate) struct Near<K, V> {
    entries: moka::future::Cache<Filed<K>, Arc<Held<V>>>,
    generations: Box<[AtomicU64]>,
    hasher: RandomState,
    /// What was invalidated lately.
    marks: moka::future::Cache<K, Need>,
}

/// A key under the generation that its stripe had when the look-up began.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Filed<K> {
    pub(crate) key: K,
    generation: u64,
}

/// Marks that are kept, at least.
const MARKS: u64 = 10_000;

/// An entry.
pub(crate) struct Held<V> {
    pub(crate) value: Option<V>,
    filled: Instant,
    fresh: Duration,
    /// It was asked of who sees every write.
    latest: bool,
    refreshing: AtomicBool,
}

impl<K, V> Near<K, V>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    pub(crate) fn new(limits: &Limits) -> Self {
        // At least as many stripes as entries: an invalidation costs about one other entry at most.
        let stripes = limits.entries.clamp(1024, 1 << 20).next_power_of_two();
        Self {
            entries: moka::future::Cache::builder()
                .max_capacity(limits.entries)
                .expire_after(Lifetimes {
                    stale: limits.stale,
                })
                .build(),
            generations: (0..stripes).map(|_| AtomicU64::new(0)).collect(),
            hasher: RandomState::new(),
            marks: moka::future::Cache::builder()
                .max_capacity(limits.entries.max(MARKS))
                .time_to_live(limits.marks)
                .build(),
        }
    }

    /// A key, as it is filed now.
    pub(crate) fn file(&self, key: K) -> Filed<K> {
        let generation = self.generation(&key).load(Ordering::Acquire);
        Filed { key, generation }
    }

    pub(crate) async fn get(&self, filed: &Filed<K>) -> Option<Arc<Held<V>>> {
        self.entries.get(filed).await
    }

    /// The entry, or what `load` makes of it, which runs once however many wait for it.
    pub(crate) async fn get_or_load<E: Send + Sync + 'static>(
        &self,
        filed: &Filed<K>,
        load: impl Future<Output = Result<Arc<Held<V>>, E>>,
    ) -> Result<Arc<Held<V>>, Arc<E>> {
        let held = self.entries.try_get_with_by_ref(filed, load).await?;
        self.drop_if_outdated(filed).await;
        Ok(held)
    }

    pub(crate) async fn insert(&self, filed: &Filed<K>, held: Arc<Held<V>>) {
        self.entries.insert(filed.clone(), held).await;
        self.drop_if_outdated(filed).await;
    }

    /// Takes an entry out that is of no use.
    pub(crate) async fn remove(&self, filed: &Filed<K>) {
        self.entries.invalidate(filed).await;
    }

    /// Forgets a key: whoever asks afterwards does not get what was loaded before, whatever loads are under way.
    pub(crate) async fn forget(&self, key: &K, need: Need) {
        if need != Need::Any {
            // Of two changes the later may be told of first.
            let need = self.mark(key).await.and(need);
            self.marks.insert(key.clone(), need).await;
        }
        // Release: a reader that sees the new generation sees what was committed before it.
        let generation = self.generation(key).fetch_add(1, Ordering::AcqRel);
        let key = key.clone();
        self.entries.invalidate(&Filed { key, generation }).await;
    }

    /// Forgets all of them.
    pub(crate) fn forget_all(&self) {
        for generation in &self.generations {
            generation.fetch_add(1, Ordering::AcqRel);
        }
        self.entries.invalidate_all();
    }

    /// How new a fill of this key has to be.
    pub(crate) async fn mark(&self, key: &K) -> Need {
        self.marks.get(key).await.unwrap_or_default()
    }

    /// Lets what is due be done.
    #[cfg(test)]
    pub(crate) async fn settle(&self) {
        self.entries.run_pending_tasks().await;
    }

    pub(crate) fn len(&self) -> u64 {
        self.entries.entry_count()
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

impl<V> Held<V> {
    pub(crate) fn new(value: Option<V>, fresh: Duration, latest: bool) -> Arc<Self> {
        Arc::new(Self {
            value,
            filled: Instant::now(),
            fresh,
            latest,
            refreshing: AtomicBool::new(false),
        })
    }

    pub(crate) fn age(&self) -> Duration {
        self.filled.elapsed()
    }

    /// How long it is served without a question.
    pub(crate) fn fresh(&self) -> Duration {
        self.fresh
    }

    pub(crate) fn is_latest(&self) -> bool {
        self.latest
    }

    pub(crate) fn is_fresh(&self) -> bool {
        self.age() < self.fresh
    }

    /// Whether its time is nearly over.
    pub(crate) fn is_ageing(&self) -> bool {
        self.age() >= self.fresh.mul_f64(0.8)
    }

    /// Whether the caller is the one to load it anew.
    pub(crate) fn begin_refresh(&self) -> bool {
        !self.refreshing.swap(true, Ordering::Relaxed)
    }

    /// The refresh came to nothing: another may try.
    pub(crate) fn end_refresh(&self) {
        self.refreshing.store(false, Ordering::Relaxed);
    }
}

impl<K: Hash> Hash for Filed<K> {
    /// By the key alone: the admission policy counts by hash, and a popular key stays popular
    /// after an invalidation.
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key.hash(state);
    }
}

struct Lifetimes {
    stale: Duration,
}

impl Lifetimes {
    fn of<V>(&self, held: &Held<V>) -> Duration {
        match held.value {
            Some(_) => held.fresh + self.stale,
            None => held.fresh,
        }
    }
}

impl<K, V> Expiry<Filed<K>, Arc<Held<V>>> for Lifetimes {
    fn expire_after_create(
        &self,
        _: &Filed<K>,
        held: &Arc<Held<V>>,
        _: Instant,
    ) -> Option<Duration> {
        Some(self.of(held))
    }

    fn expire_after_update(
        &self,
        _: &Filed<K>,
        held: &Arc<Held<V>>,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(self.of(held))
    }
}
