//! What a caller of the cache in memory would notice.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::AtomicU32;

use tokio::sync::Notify;

use super::*;

const HOUR: Duration = Duration::from_secs(3600);

fn limits() -> Limits {
    Limits {
        entries: 1_000,
        ttl: HOUR,
        negative_ttl: HOUR,
        stale: Duration::ZERO,
        jitter: 0.1,
        marks: HOUR,
    }
}

/// Rows, and who has asked for them.
#[derive(Default)]
struct Rows {
    rows: Mutex<HashMap<u32, u64>>,
    asked: Mutex<Vec<(u32, Need)>>,
    /// Loads wait for this, once it is set.
    gate: Mutex<Option<Arc<Notify>>>,
    takes: Duration,
    fails: AtomicBool,
    calls: AtomicU32,
}

#[derive(Debug, PartialEq)]
struct Failed;

impl Rows {
    fn set(&self, key: u32, version: u64) {
        self.rows.lock().unwrap().insert(key, version);
    }

    fn read(&self, key: u32) -> Option<u64> {
        self.rows.lock().unwrap().get(&key).copied()
    }
}

impl Source for Arc<Rows> {
    type Key = u32;
    type Value = u64;
    type Error = Failed;
    const NAME: &'static str = "row";

    async fn load(&self, key: u32, need: Need) -> Result<Option<u64>, Failed> {
        self.calls.fetch_add(1, Relaxed);
        self.asked.lock().unwrap().push((key, need));
        let read = self.read(key);
        let gate = self.gate.lock().unwrap().clone();
        if let Some(gate) = gate {
            gate.notified().await;
        }
        tokio::time::sleep(self.takes).await;
        match self.fails.load(Relaxed) {
            true => Err(Failed),
            false => Ok(read),
        }
    }

    async fn load_many(&self, keys: Vec<u32>) -> Result<Vec<(u32, u64)>, Failed> {
        self.calls.fetch_add(1, Relaxed);
        let rows = keys.into_iter();
        Ok(rows
            .filter_map(|key| Some((key, self.read(key)?)))
            .collect())
    }

    fn version(value: &u64) -> u64 {
        *value
    }
}

fn cache(limits: Limits) -> (Cache<Arc<Rows>>, Arc<Rows>) {
    let rows = Arc::new(Rows {
        takes: Duration::from_millis(5),
        ..Rows::default()
    });
    (Cache::new(rows.clone(), limits, None), rows)
}

async fn get(cache: &Cache<Arc<Rows>>, key: u32) -> Option<u64> {
    cache.get(key).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_callers_of_one_key_load_once() {
    let (cache, rows) = cache(limits());
    rows.set(1, 7);
    let callers = (0..1_000).map(|_| {
        let cache = cache.clone();
        tokio::spawn(async move { cache.get(1).await.unwrap() })
    });
    for caller in callers.collect::<Vec<_>>() {
        assert_eq!(caller.await.unwrap(), Some(7));
    }
    let stats = cache.stats();
    assert_eq!((stats.loads, stats.hits + stats.misses), (1, 1_000));
    assert_eq!(rows.calls.load(Relaxed), 1);
}

#[tokio::test]
async fn an_error_is_shared_but_not_remembered() {
    let (cache, rows) = cache(limits());
    rows.set(1, 2);
    rows.fails.store(true, Relaxed);
    assert_eq!(*cache.get(1).await.unwrap_err(), Failed);
    rows.fails.store(false, Relaxed);
    assert_eq!(get(&cache, 1).await, Some(2));
}

#[tokio::test]
async fn absence_is_remembered_for_its_own_shorter_time() {
    let (cache, rows) = cache(Limits {
        negative_ttl: Duration::from_millis(80),
        jitter: 0.0,
        ..limits()
    });
    assert_eq!(get(&cache, 1).await, None);
    rows.set(1, 2);
    assert_eq!(get(&cache, 1).await, None);
    tokio::time::sleep(Duration::from_millis(120)).await;
    assert_eq!(get(&cache, 1).await, Some(2));
    rows.set(1, 3);
    tokio::time::sleep(Duration::from_millis(120)).await;
    assert_eq!(get(&cache, 1).await, Some(2));
}

#[tokio::test]
async fn a_fill_that_began_before_an_invalidation_is_not_served_after_it() {
    let (cache, rows) = cache(limits());
    rows.set(1, 1);
    let gate = Arc::new(Notify::new());
    *rows.gate.lock().unwrap() = Some(gate.clone());
    let old = tokio::spawn({
        let cache = cache.clone();
        async move { cache.get(1).await.unwrap() }
    });
    while rows.calls.load(Relaxed) == 0 {
        tokio::task::yield_now().await;
    }
    *rows.gate.lock().unwrap() = None;
    rows.set(1, 2);
    cache.invalidate(&1, None).await;
    // It does not join the flight that has read the old row.
    assert_eq!(get(&cache, 1).await, Some(2));
    gate.notify_one();
    assert_eq!(old.await.unwrap(), Some(1));
    assert_eq!(get(&cache, 1).await, Some(2));
}

#[tokio::test]
async fn a_refresh_that_began_before_an_invalidation_puts_nothing_back() {
    let (cache, rows) = cache(Limits {
        ttl: Duration::from_millis(50),
        stale: HOUR,
        ..limits()
    });
    rows.set(1, 1);
    assert_eq!(get(&cache, 1).await, Some(1));
    tokio::time::sleep(Duration::from_millis(70)).await;
    let gate = Arc::new(Notify::new());
    *rows.gate.lock().unwrap() = Some(gate.clone());
    assert_eq!(get(&cache, 1).await, Some(1), "and it is loaded anew");
    while rows.calls.load(Relaxed) == 1 {
        tokio::task::yield_now().await;
    }
    *rows.gate.lock().unwrap() = None;
    rows.set(1, 2);
    cache.invalidate(&1, None).await;
    assert_eq!(get(&cache, 1).await, Some(2));
    gate.notify_one();
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(get(&cache, 1).await, Some(2));
}

#[tokio::test]
async fn a_load_after_an_invalidation_is_told_how_new_it_must_be() {
    let (cache, rows) = cache(limits());
    let mark = Mark("0.1-2-3".into());
    get(&cache, 1).await;
    cache.invalidate(&1, Some(mark.clone())).await;
    get(&cache, 1).await;
    let seen = Seen {
        version: 0,
        mark: Some(Mark("0.1-2-9".into())),
    };
    cache.invalidate(&1, Some(mark.clone())).await;
    cache.get_seen(1, &seen).await.unwrap();
    let asked = rows.asked.lock().unwrap().clone();
    let needs: Vec<_> = asked.into_iter().map(|(_, need)| need).collect();
    // Of two marks nobody here knows which is later.
    assert_eq!(needs, [Need::Any, Need::After(mark), Need::Latest]);
}

#[tokio::test]
async fn who_has_seen_a_version_gets_nothing_older() {
    let (cache, rows) = cache(limits());
    rows.set(1, 4);
    assert_eq!(get(&cache, 1).await, Some(4));
    rows.set(1, 5); // by another process
    assert_eq!(get(&cache, 1).await, Some(4));
    let seen = Seen {
        version: 5,
        mark: None,
    };
    assert_eq!(cache.get_seen(1, &seen).await.unwrap(), Some(5));
    assert_eq!(get(&cache, 1).await, Some(5), "and it stays");
    let calls = rows.calls.load(Relaxed);
    assert_eq!(cache.get_seen(1, &seen).await.unwrap(), Some(5));
    assert_eq!(rows.calls.load(Relaxed), calls);
}

#[tokio::test]
async fn an_old_value_is_served_while_one_caller_loads_it_anew() {
    let (cache, rows) = cache(Limits {
        ttl: Duration::from_millis(50),
        stale: HOUR,
        jitter: 0.0,
        ..limits()
    });
    rows.set(1, 1);
    assert_eq!(get(&cache, 1).await, Some(1));
    tokio::time::sleep(Duration::from_millis(70)).await;
    rows.set(1, 2);
    for _ in 0..10 {
        assert_eq!(get(&cache, 1).await, Some(1), "at once");
    }
    tokio::time::sleep(Duration::from_millis(30)).await;
    assert_eq!(get(&cache, 1).await, Some(2));
    assert_eq!(rows.calls.load(Relaxed), 2);
    // While it cannot be loaded too.
    tokio::time::sleep(Duration::from_millis(70)).await;
    rows.fails.store(true, Relaxed);
    for _ in 0..3 {
        assert_eq!(get(&cache, 1).await, Some(2));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(cache.stats().stale >= 13);
}

#[tokio::test]
async fn an_invalidated_value_is_not_served_however_stale_it_may_be() {
    let (cache, rows) = cache(Limits {
        ttl: Duration::from_millis(20),
        stale: HOUR,
        ..limits()
    });
    rows.set(1, 1);
    assert_eq!(get(&cache, 1).await, Some(1));
    tokio::time::sleep(Duration::from_millis(40)).await;
    rows.set(1, 2);
    cache.invalidate(&1, None).await;
    assert_eq!(get(&cache, 1).await, Some(2));
}

#[tokio::test]
async fn many_keys_are_one_call_for_those_that_are_missing() {
    let (cache, rows) = cache(limits());
    for key in 0..5 {
        rows.set(key, 10 + u64::from(key));
    }
    get(&cache, 0).await;
    get(&cache, 9).await;
    let mut found = cache.get_many(vec![0, 1, 2, 8, 9]).await.unwrap();
    found.sort_unstable();
    assert_eq!(found, [(0, 10), (1, 11), (2, 12)]);
    assert_eq!(
        rows.calls.load(Relaxed),
        3,
        "two for one key each, then one"
    );
    cache.get_many(vec![0, 1, 2, 8, 9]).await.unwrap();
    assert_eq!(rows.calls.load(Relaxed), 3);
    assert_eq!(cache.stats().loads, 2 + 3);
}

#[tokio::test]
async fn it_holds_no_more_than_its_limit() {
    let (cache, rows) = cache(Limits {
        entries: 10,
        ..limits()
    });
    for key in 0..100 {
        rows.set(key, 1);
        get(&cache, key).await;
    }
    cache.0.near.settle().await;
    assert!(cache.stats().entries <= 10);
}

#[tokio::test]
async fn a_hot_key_is_loaded_anew_before_its_time_is_over() {
    let (cache, rows) = cache(Limits {
        ttl: Duration::from_millis(500),
        jitter: 0.0,
        ..limits()
    });
    rows.set(1, 1);
    let begin = std::time::Instant::now();
    let mut most = Duration::ZERO;
    while begin.elapsed() < Duration::from_millis(1500) {
        for _ in 0..100 {
            let asked = std::time::Instant::now();
            get(&cache, 1).await;
            most = most.max(asked.elapsed());
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let stats = cache.stats();
    assert_eq!(stats.misses, 1, "the first");
    assert!((3..=5).contains(&stats.loads), "{stats:?}");
    assert_eq!(stats.hot, 1);
}

#[tokio::test]
async fn a_caller_that_leaves_lets_the_next_one_load() {
    let (cache, rows) = cache(limits());
    rows.set(1, 1);
    *rows.gate.lock().unwrap() = Some(Arc::new(Notify::new()));
    let first = tokio::time::timeout(Duration::from_millis(20), cache.get(1)).await;
    assert!(first.is_err(), "it waits");
    *rows.gate.lock().unwrap() = None;
    assert_eq!(get(&cache, 1).await, Some(1));
}
