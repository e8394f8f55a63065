//! The shared level on real Redis (alone, dealt out, watched by sentinels, as a cluster) and Memcached.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::collections::HashMap;
use std::convert::Infallible;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use servers::{Memcached, Redis, RedisSettings, Setup, free_port};
use tempfile::TempDir;
use tidegate_cache::{Cache, Kind, Limits, Mark, Need, Node, Options, Remote, Source};

#[path = "servers/lives.rs"]
mod lives;
#[path = "servers/refusals.rs"]
mod refusals;

const TIMEOUT: Duration = Duration::from_millis(200);
const SOON: Duration = Duration::from_secs(10);

/// Rows that all processes share: a version by number.
#[derive(Default)]
struct Rows {
    rows: Mutex<HashMap<u32, u64>>,
    asked: Mutex<Vec<(u32, Need)>>,
    takes: Mutex<Duration>,
}

impl Rows {
    fn set(&self, key: u32, version: u64) {
        self.rows.lock().unwrap().insert(key, version);
    }

    fn read(&self, key: u32) -> Option<u64> {
        self.rows.lock().unwrap().get(&key).copied()
    }

    /// How often a key was asked for.
    fn asked(&self, key: u32) -> usize {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|(one, _)| *one == key).count()
    }

    fn last_need(&self, key: u32) -> Option<Need> {
        let asked = self.asked.lock().unwrap();
        let mut asked = asked.iter().rev();
        asked
            .find(|(one, _)| *one == key)
            .map(|(_, need)| need.clone())
    }
}

#[derive(Clone)]
struct Shared(Arc<Rows>);

impl Source for Shared {
    type Key = u32;
    type Value = u64;
    type Error = Infallible;
    const NAME: &'static str = "row";

    async fn load(&self, key: u32, need: Need) -> Result<Option<u64>, Infallible> {
        self.0.asked.lock().unwrap().push((key, need));
        let read = self.0.read(key);
        let takes = *self.0.takes.lock().unwrap();
        tokio::time::sleep(takes).await;
        Ok(read)
    }

    async fn load_many(&self, keys: Vec<u32>) -> Result<Vec<(u32, u64)>, Infallible> {
        let mut rows = Vec::new();
        for key in keys {
            rows.extend(self.load(key, Need::Any).await?.map(|row| (key, row)));
        }
        Ok(rows)
    }

    fn version(value: &u64) -> u64 {
        *value
    }
}

/// Two processes with the same rows behind them, as far as the cache can tell.
struct Pair {
    rows: Arc<Rows>,
    a: Cache<Shared>,
    b: Cache<Shared>,
    remotes: [Arc<Remote>; 2],
}

fn nodes(ports: &[u16]) -> Vec<Node> {
    let node = |&port| Node {
        host: "127.0.0.1".into(),
        port,
    };
    ports.iter().map(node).collect()
}

fn options(kind: Kind, ports: &[u16]) -> Options {
    Options {
        kind,
        nodes: nodes(ports),
        gutter: Vec::new(),
        timeout: TIMEOUT,
        prefix: "test".into(),
        user: None,
        password: None,
    }
}

const LIMITS: Limits = Limits {
    entries: 10_000,
    ttl: Duration::from_secs(600),
    negative_ttl: Duration::from_secs(600),
    stale: Duration::ZERO,
    jitter: 0.1,
    marks: Duration::from_secs(60),
};

impl Pair {
    fn new(options: &Options) -> Self {
        let rows = Arc::new(Rows::default());
        let remote = || Remote::open(options.clone()).unwrap();
        let remotes = [remote(), remote()];
        let cache =
            |remote: &Arc<Remote>| Cache::new(Shared(rows.clone()), LIMITS, Some(remote.clone()));
        Self {
            a: cache(&remotes[0]),
            b: cache(&remotes[1]),
            rows,
            remotes,
        }
    }

    async fn until_up(&self) {
        eventually("all servers answer", async || {
            let stats = self.remotes.iter().flat_map(|remote| remote.stats());
            stats
                .into_iter()
                .all(|server| server.up && server.missed == 0)
        })
        .await;
    }
}

async fn get(cache: &Cache<Shared>, key: u32) -> Option<u64> {
    cache.get(key).await.unwrap()
}

async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + SOON;
    while !holds().await {
        assert!(Instant::now() < end, "not within {SOON:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn redis(dir: &Path, setup: Setup) -> Redis {
    let port = free_port().unwrap();
    let settings = RedisSettings {
        dir: dir.join(port.to_string()),
        port,
        password: None,
        setup,
    };
    Redis::start(settings).unwrap()
}

fn cluster(dir: &Path) -> Vec<Redis> {
    let servers: Vec<_> = (0..3).map(|_| redis(dir, Setup::Cluster)).collect();
    Redis::join(&servers).unwrap();
    servers
}

fn ports(servers: &[Redis]) -> Vec<u16> {
    servers.iter().map(Redis::port).collect()
}

/// What holds whatever the servers are.
async fn keeps_its_promises(options: Options, tells: bool) {
    let pair = Pair::new(&options);
    let Pair { rows, a, b, .. } = &pair;
    // One process loads for all, absence too.
    rows.set(1, 10);
    assert_eq!((get(a, 1).await, get(b, 1).await), (Some(10), Some(10)));
    assert_eq!((get(a, 2).await, get(b, 2).await), (None, None));
    assert_eq!((rows.asked(1), rows.asked(2)), (1, 1));
    assert_eq!((b.stats().remote_hits, b.stats().loads), (2, 0));
    // What was deleted is gone for the one at once, and for the other when it hears of it.
    let mark = Mark("0.1-2-3".into());
    rows.set(1, 11);
    b.invalidate(&1, Some(mark.clone())).await;
    assert_eq!(get(b, 1).await, Some(11));
    assert_eq!(
        rows.last_need(1),
        Some(if tells {
            Need::After(mark.clone())
        } else {
            Need::Latest
        })
    );
    let changed = Instant::now();
    eventually("the other sees it", async || get(a, 1).await == Some(11)).await;
    let limit = if tells { 500 } else { 1_500 };
    assert!(changed.elapsed() < Duration::from_millis(limit));
    // Whoever loads next is told how new it has to be, in whichever process.
    b.invalidate(&2, Some(mark.clone())).await;
    eventually("it is asked for again", async || {
        get(a, 2).await;
        rows.last_need(2).is_some_and(|need| need != Need::Any)
    })
    .await;
    many_are_asked_for_at_once(&pair).await;
    no_late_fill_outlives_a_change(&pair, options).await;
}

async fn many_are_asked_for_at_once(Pair { rows, a, b, .. }: &Pair) {
    // Some are here, some there, some nowhere.
    for key in 100..150 {
        rows.set(key, u64::from(key));
    }
    for key in 100..120 {
        get(a, key).await;
    }
    let mut many = b.get_many((100..200).collect()).await.unwrap();
    many.sort_unstable();
    let all: Vec<_> = (100..150).map(|key| (key, u64::from(key))).collect();
    assert_eq!(many, all);
    let loaded = |range: std::ops::Range<u32>| range.map(|key| rows.asked(key)).sum::<usize>();
    assert_eq!((loaded(100..120), loaded(120..200)), (20, 80));
    a.get_many((100..200).collect()).await.unwrap();
    assert_eq!(
        loaded(100..200),
        100,
        "the second process asks for none of them"
    );
}

async fn no_late_fill_outlives_a_change(Pair { rows, a, b, .. }: &Pair, options: Options) {
    *rows.takes.lock().unwrap() = Duration::from_millis(100);
    rows.set(3, 30);
    let slow = tokio::spawn({
        let a = a.clone();
        async move { get(&a, 3).await }
    });
    eventually("it has read", async || rows.asked(3) == 1).await;
    rows.set(3, 31);
    b.invalidate(&3, None).await;
    assert_eq!(
        slow.await.unwrap(),
        Some(30),
        "as it was when it was asked for"
    );
    let other = Cache::new(
        Shared(rows.clone()),
        LIMITS,
        Some(Remote::open(options).unwrap()),
    );
    assert_eq!(get(&other, 3).await, Some(31));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_alone() {
    let dir = TempDir::new().unwrap();
    let server = redis(dir.path(), Setup::Single);
    keeps_its_promises(options(Kind::Redis, &[server.port()]), true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_dealt_out() {
    let dir = TempDir::new().unwrap();
    let servers: Vec<_> = (0..3).map(|_| redis(dir.path(), Setup::Single)).collect();
    keeps_its_promises(options(Kind::Redis, &ports(&servers)), true).await;
    for server in &servers {
        let size = server.tell("DBSIZE").unwrap();
        assert_ne!(size.lines().next(), Some(":0"), "each has some of it");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_as_a_cluster() {
    let dir = TempDir::new().unwrap();
    let servers = cluster(dir.path());
    keeps_its_promises(options(Kind::RedisCluster, &ports(&servers)[..1]), true).await;
    for server in &servers {
        let size = server.tell("DBSIZE").unwrap();
        assert_ne!(size.lines().next(), Some(":0"), "each has some of it");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memcached() {
    let dir = TempDir::new().unwrap();
    let start = || Memcached::start(dir.path(), free_port().unwrap()).unwrap();
    let servers = [start(), start()];
    let ports: Vec<_> = servers.iter().map(Memcached::port).collect();
    keeps_its_promises(options(Kind::Memcached, &ports), false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_watched_by_sentinels() {
    let dir = TempDir::new().unwrap();
    let mut primary = redis(dir.path(), Setup::Single);
    let replica = redis(dir.path(), Setup::Replica(primary.port()));
    let sentinel = redis(dir.path(), Setup::Sentinel(primary.port()));
    eventually("the replica is known", async || {
        let known = sentinel.tell("SENTINEL replicas main").unwrap();
        known.contains(&replica.port().to_string())
            && known.contains("master-link-status\r\n$2\r\nok")
    })
    .await;
    let options = options(Kind::RedisSentinel("main".into()), &[sentinel.port()]);
    keeps_its_promises(options.clone(), true).await;
    let pair = Pair::new(&options);
    pair.rows.set(7, 70);
    assert_eq!(get(&pair.a, 7).await, Some(70));
    primary.kill();
    let mut key = 1_000;
    eventually("the replica has taken its place", async || {
        key += 1;
        pair.rows.set(key, 1);
        let loaded = (get(&pair.a, key).await, get(&pair.b, key).await);
        loaded == (Some(1), Some(1)) && pair.rows.asked(key) == 1
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stands_still_costs_one_time_out_and_misses_no_deletion() {
    let dir = TempDir::new().unwrap();
    let server = redis(dir.path(), Setup::Single);
    let pair = Pair::new(&options(Kind::Redis, &[server.port()]));
    for key in 0..50 {
        pair.rows.set(key, 1);
        get(&pair.a, key).await;
    }
    server.freeze(true);
    for key in 0..50 {
        assert_eq!(get(&pair.b, key).await, Some(1), "from the source");
    }
    assert_eq!(pair.remotes[1].stats()[0].failures, 1);
    let begin = Instant::now();
    pair.rows.set(5, 2);
    pair.a.invalidate(&5, None).await;
    assert!(begin.elapsed() < TIMEOUT * 2, "{:?}", begin.elapsed());
    assert_eq!(get(&pair.a, 5).await, Some(2));
    server.freeze(false);
    pair.until_up().await;
    let third = Pair::new(&options(Kind::Redis, &[server.port()]));
    third.rows.set(5, 2);
    third.rows.set(6, 9);
    assert_eq!(get(&third.a, 5).await, Some(2), "it is deleted there too");
    assert_eq!(get(&third.a, 6).await, Some(1), "the rest is there");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_of_a_cluster_that_is_gone_is_missed_alone() {
    let dir = TempDir::new().unwrap();
    let mut servers = cluster(dir.path());
    let pair = Pair::new(&options(Kind::RedisCluster, &ports(&servers)));
    for key in 0..300 {
        pair.rows.set(key, 1);
        get(&pair.a, key).await;
    }
    servers[1].kill();
    for key in 0..300 {
        assert_eq!(get(&pair.b, key).await, Some(1));
    }
    // The second time round every part of it is known to be gone.
    let third = Cache::new(
        Shared(pair.rows.clone()),
        LIMITS,
        Some(pair.remotes[1].clone()),
    );
    let failures = || pair.remotes[1].stats()[0].failures;
    let before = failures();
    assert!((1..=22).contains(&before), "a third of 64 parts: {before}");
    for key in 0..300 {
        assert_eq!(get(&third, key).await, Some(1));
    }
    assert_eq!(failures(), before);
    let hits = third.stats().remote_hits;
    assert!(
        (150..=250).contains(&hits),
        "two of three parts serve: {hits}"
    );
    servers[1].restart().unwrap();
    pair.until_up().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_gutter_stands_in_for_a_server_that_is_gone() {
    let dir = TempDir::new().unwrap();
    let mut server = redis(dir.path(), Setup::Single);
    let gutter = redis(dir.path(), Setup::Single);
    let pair = Pair::new(&Options {
        gutter: nodes(&[gutter.port()]),
        ..options(Kind::Redis, &[server.port()])
    });
    server.kill();
    pair.rows.set(1, 1);
    // Each process finds out for itself that it is gone.
    get(&pair.a, 900).await;
    get(&pair.b, 901).await;
    assert_eq!(
        (get(&pair.a, 1).await, get(&pair.b, 1).await),
        (Some(1), Some(1))
    );
    assert_eq!(pair.rows.asked(1), 1);
    pair.rows.set(1, 2);
    pair.a.invalidate(&1, None).await;
    eventually("the other sees it", async || {
        get(&pair.b, 1).await == Some(2)
    })
    .await;
    server.restart().unwrap();
    pair.until_up().await;
    assert_eq!(get(&pair.a, 1).await, Some(2));
}

/// Writers and readers of a few keys in two processes, while the server stands still now and then: nobody
/// who asks after a write was acknowledged in the same process gets anything older.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_older_than_an_acknowledged_write_of_the_same_process() {
    let dir = TempDir::new().unwrap();
    let server = Arc::new(redis(dir.path(), Setup::Single));
    let pair = Arc::new(Pair::new(&options(Kind::Redis, &[server.port()])));
    let over = Arc::new(AtomicBool::new(false));
    let mut tasks = Vec::new();
    for key in 0..4_u32 {
        // One writer a key; in which process, the key says.
        let acknowledged = Arc::new(AtomicU64::new(0));
        let cache = if key % 2 == 0 { &pair.a } else { &pair.b };
        let (writer, rows) = (cache.clone(), pair.rows.clone());
        let (done, ended) = (acknowledged.clone(), over.clone());
        tasks.push(tokio::spawn(async move {
            while !ended.load(SeqCst) {
                let next = done.load(SeqCst) + 1;
                rows.set(key, next);
                writer.invalidate(&key, None).await;
                done.store(next, SeqCst);
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
        }));
        for _ in 0..4 {
            let (reader, done, ended) = (cache.clone(), acknowledged.clone(), over.clone());
            tasks.push(tokio::spawn(async move {
                while !ended.load(SeqCst) {
                    let least = done.load(SeqCst);
                    let got = get(&reader, key).await.unwrap_or(0);
                    assert!(got >= least, "{got} after {least} of {key}");
                    tokio::time::sleep(Duration::from_micros(300)).await;
                }
            }));
        }
    }
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(600)).await;
        server.freeze(true);
        tokio::time::sleep(Duration::from_millis(400)).await;
        server.freeze(false);
    }
    over.store(true, SeqCst);
    for task in tasks {
        task.await.unwrap();
    }
    let (a, b) = (pair.a.stats(), pair.b.stats());
    assert!(a.remote_hits + b.remote_hits + a.hits + b.hits > 1_000);
    // And in the end both processes see the end.
    pair.until_up().await;
    for key in 0..4 {
        let last = pair.rows.read(key);
        eventually("both see the last", async || {
            get(&pair.a, key).await == last && get(&pair.b, key).await == last
        })
        .await;
    }
}
