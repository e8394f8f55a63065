//! What a caller of the cache would notice.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use super::*;

const HOUR: Duration = Duration::from_secs(3600);

fn limits() -> Limits {
    Limits {
        entries: 1_000,
        ttl: HOUR,
        negative_ttl: HOUR,
        jitter: 0.1,
    }
}

fn cache(limits: Limits) -> Arc<Cache<u32, u32>> {
    Arc::new(Cache::new(limits))
}

async fn value(cache: &Cache<u32, u32>, key: u32, value: Option<u32>) -> Option<u32> {
    let loaded = cache.get_or_load(key, async { Ok::<_, Infallible>(value) });
    loaded.await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_callers_of_one_key_load_once() {
    let cache = cache(limits());
    let runs = Arc::new(AtomicU32::new(0));
    let callers: Vec<_> = (0..1_000)
        .map(|_| {
            let (cache, runs) = (cache.clone(), runs.clone());
            tokio::spawn(async move {
                let load = async {
                    runs.fetch_add(1, Ordering::SeqCst);
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    Ok::<_, Infallible>(Some(7))
                };
                cache.get_or_load(1, load).await.unwrap()
            })
        })
        .collect();
    for caller in callers {
        assert_eq!(caller.await.unwrap(), Some(7));
    }
    assert_eq!(runs.load(Ordering::SeqCst), 1);
    let stats = cache.stats();
    assert_eq!((stats.loads, stats.hits + stats.misses), (1, 1_000));
}

#[tokio::test]
async fn an_error_is_shared_but_not_remembered() {
    let cache = cache(limits());
    let failed = cache.get_or_load(1, async { Err::<Option<u32>, _>("no") });
    assert_eq!(*failed.await.unwrap_err(), "no");
    assert_eq!(value(&cache, 1, Some(2)).await, Some(2));
}

#[tokio::test]
async fn absence_is_remembered_for_its_own_shorter_time() {
    let cache = cache(Limits {
        negative_ttl: Duration::from_millis(60),
        jitter: 0.0,
        ..limits()
    });
    assert_eq!(value(&cache, 1, None).await, None);
    assert_eq!(value(&cache, 1, Some(2)).await, None);
    assert_eq!(cache.stats().hits, 1);
    tokio::time::sleep(Duration::from_millis(90)).await;
    assert_eq!(value(&cache, 1, Some(2)).await, Some(2));
    tokio::time::sleep(Duration::from_millis(90)).await;
    assert_eq!(value(&cache, 1, Some(3)).await, Some(2));
}

#[tokio::test]
async fn values_expire() {
    let cache = cache(Limits {
        ttl: Duration::from_millis(60),
        ..limits()
    });
    assert_eq!(value(&cache, 1, Some(1)).await, Some(1));
    assert_eq!(value(&cache, 1, Some(2)).await, Some(1));
    tokio::time::sleep(Duration::from_millis(90)).await;
    assert_eq!(value(&cache, 1, Some(2)).await, Some(2));
}

#[test]
fn lifetimes_are_spread_below_the_time_to_live() {
    let lifetimes = Lifetimes(limits());
    let drawn: Vec<_> = (0..100).map(|_| lifetimes.draw(Some(&1))).collect();
    assert!(
        drawn
            .iter()
            .all(|ttl| *ttl <= HOUR && *ttl >= HOUR.mul_f64(0.899))
    );
    assert!(drawn.iter().max() > drawn.iter().min());
}

/// Starts a load of key 1 that ends with `Some(1)` when it is told to.
async fn slow_load(
    cache: &Arc<Cache<u32, u32>>,
) -> (Arc<Notify>, tokio::task::JoinHandle<Option<u32>>) {
    let (started, finish) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let task = {
        let (cache, started, finish) = (cache.clone(), started.clone(), finish.clone());
        tokio::spawn(async move {
            let load = async {
                started.notify_one();
                finish.notified().await;
                Ok::<_, Infallible>(Some(1))
            };
            cache.get_or_load(1, load).await.unwrap()
        })
    };
    started.notified().await;
    (finish, task)
}

#[tokio::test]
async fn a_fill_from_before_an_invalidation_is_never_served_after_it() {
    let cache = cache(limits());
    let (finish, old) = slow_load(&cache).await;
    cache.invalidate(&1).await;
    // Does not join the old load, which has not ended yet.
    assert_eq!(value(&cache, 1, Some(2)).await, Some(2));
    finish.notify_one();
    assert_eq!(
        old.await.unwrap(),
        Some(1),
        "its caller asked before the change"
    );
    assert_eq!(
        value(&cache, 1, Some(3)).await,
        Some(2),
        "the newer fill stands"
    );
}

#[tokio::test]
async fn a_late_fill_does_not_stay_when_nobody_loaded_since() {
    let cache = cache(limits());
    let (finish, old) = slow_load(&cache).await;
    cache.invalidate(&1).await;
    finish.notify_one();
    old.await.unwrap();
    cache.entries.run_pending_tasks().await;
    assert_eq!(cache.stats().entries, 0);
    assert_eq!(value(&cache, 1, Some(2)).await, Some(2));
}

#[tokio::test]
async fn an_abandoned_load_lets_the_next_caller_load() {
    let cache = cache(limits());
    let (_finish, old) = slow_load(&cache).await;
    let waiting = {
        let cache = cache.clone();
        tokio::spawn(async move { value(&cache, 1, Some(2)).await })
    };
    tokio::task::yield_now().await;
    old.abort();
    assert_eq!(waiting.await.unwrap(), Some(2));
}

#[tokio::test]
async fn many_keys_load_only_what_is_missing() {
    let cache = cache(limits());
    value(&cache, 1, Some(10)).await;
    let mut got = cache
        .get_or_load_many(vec![1, 2, 3], async |missing| {
            assert_eq!(missing, [2, 3]);
            Ok::<_, Infallible>(vec![(2, 20)])
        })
        .await
        .unwrap();
    got.sort_unstable();
    assert_eq!(got, [(1, 10), (2, 20)]);
    assert_eq!(
        value(&cache, 3, Some(30)).await,
        None,
        "absence is remembered"
    );
    assert_eq!(value(&cache, 2, Some(0)).await, Some(20));
}

#[tokio::test]
async fn a_batch_fill_is_not_stale_either() {
    let cache = cache(limits());
    let batch = cache.get_or_load_many(vec![1], async |_| {
        cache.invalidate(&1).await;
        Ok::<_, Infallible>(vec![(1, 1)])
    });
    batch.await.unwrap();
    assert_eq!(value(&cache, 1, Some(2)).await, Some(2));
}

#[tokio::test]
async fn the_number_of_entries_is_bounded() {
    let cache = cache(Limits {
        entries: 100,
        ..limits()
    });
    for key in 0..1_000 {
        value(&cache, key, Some(key)).await;
    }
    cache.entries.run_pending_tasks().await;
    assert!(cache.stats().entries <= 100);
}
