//! How long things live: what one process takes over from another, and what is left when somebody leaves.

use super::*;

/// Entries that live for two seconds, all of them.
const SHORT: Limits = Limits {
    ttl: Duration::from_secs(2),
    negative_ttl: Duration::from_secs(2),
    jitter: 0.0,
    ..LIMITS
};

/// What one process has from another is not kept for longer than there.
async fn nothing_lives_twice(options: Options) {
    let rows = Arc::new(Rows::default());
    let cache = || {
        let remote = Remote::open(options.clone()).unwrap();
        Cache::new(Shared(rows.clone()), SHORT, Some(remote))
    };
    let (a, b) = (cache(), cache());
    rows.set(1, 1);
    // Until what others delete is heard, and nothing is dropped for that.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let begin = Instant::now();
    assert_eq!((get(&a, 1).await, get(&a, 2).await), (Some(1), None));
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    assert_eq!((get(&b, 1).await, get(&b, 2).await), (Some(1), None));
    assert_eq!(b.stats().remote_hits, 2);
    // Changed without a word: only the end of its time helps.
    rows.set(1, 2);
    rows.set(2, 2);
    assert_eq!(get(&b, 1).await, Some(1));
    tokio::time::sleep(Duration::from_millis(2_100).saturating_sub(begin.elapsed())).await;
    assert_eq!((get(&b, 1).await, get(&b, 2).await), (Some(2), Some(2)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_lives_twice_with_redis() {
    let dir = TempDir::new().unwrap();
    let server = redis(dir.path(), Setup::Single);
    nothing_lives_twice(options(Kind::Redis, &[server.port()])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_lives_twice_with_memcached() {
    let dir = TempDir::new().unwrap();
    let server = Memcached::start(dir.path(), free_port().unwrap()).unwrap();
    nothing_lives_twice(options(Kind::Memcached, &[server.port()])).await;
}

/// What another version of the program, or another program, has left there is in nobody's way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_read_is_replaced() {
    let dir = TempDir::new().unwrap();
    let server = redis(dir.path(), Setup::Single);
    let pair = Pair::new(&options(Kind::Redis, &[server.port()]));
    pair.rows.set(1, 10);
    for left in ["V7", "N", "W", "nonsense"] {
        server.tell(&format!("SET test:row:1 {left}")).unwrap();
        let third = Pair::new(&options(Kind::Redis, &[server.port()]));
        third.rows.set(1, 10);
        assert_eq!(get(&third.a, 1).await, Some(10), "{left}");
        assert_eq!(get(&third.b, 1).await, Some(10), "{left}");
        assert_eq!(
            third.rows.asked(1),
            1,
            "the other has it from there: {left}"
        );
    }
    let memcached = Memcached::start(dir.path(), free_port().unwrap()).unwrap();
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", memcached.port())).unwrap();
    std::io::Write::write_all(&mut stream, b"set test:row:1 0 0 2\r\nV7\r\n").unwrap();
    std::io::Read::read_exact(&mut stream, &mut [0; 8]).unwrap();
    let pair = Pair::new(&options(Kind::Memcached, &[memcached.port()]));
    pair.rows.set(1, 10);
    assert_eq!(
        (get(&pair.a, 1).await, get(&pair.b, 1).await),
        (Some(10), Some(10))
    );
    assert_eq!(pair.rows.asked(1), 1);
}

async fn a_caller_that_leaves_fills_all_the_same(options: Options) {
    let pair = Pair::new(&options);
    let Pair { rows, a, b, .. } = &pair;
    *rows.takes.lock().unwrap() = Duration::from_millis(100);
    rows.set(1, 10);
    rows.set(2, 20);
    let leave = Duration::from_millis(50);
    let one = tokio::time::timeout(leave, a.get(1));
    let many = tokio::time::timeout(leave, a.get_many(vec![2]));
    assert!(one.await.is_err(), "it has left");
    assert!(many.await.is_err(), "it has left");
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!((get(b, 1).await, get(b, 2).await), (Some(10), Some(20)));
    assert_eq!((rows.asked(1), rows.asked(2)), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_leaves_fills_redis() {
    let dir = TempDir::new().unwrap();
    let server = redis(dir.path(), Setup::Single);
    a_caller_that_leaves_fills_all_the_same(options(Kind::Redis, &[server.port()])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_leaves_fills_memcached() {
    let dir = TempDir::new().unwrap();
    let server = Memcached::start(dir.path(), free_port().unwrap()).unwrap();
    a_caller_that_leaves_fills_all_the_same(options(Kind::Memcached, &[server.port()])).await;
}

/// Any number of look-ups at once share a few connections.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memcached_has_few_connections_however_many_ask() {
    let dir = TempDir::new().unwrap();
    let server = Memcached::start(dir.path(), free_port().unwrap()).unwrap();
    let mut options = options(Kind::Memcached, &[server.port()]);
    options.timeout = Duration::from_secs(5);
    let pair = Pair::new(&options);
    for key in 0..500 {
        pair.rows.set(key, u64::from(key));
    }
    let found = pair.a.get_many((0..500).collect()).await.unwrap();
    assert_eq!(found.len(), 500);
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", server.port())).unwrap();
    std::io::Write::write_all(&mut stream, b"stats\r\nquit\r\n").unwrap();
    let mut stats = String::new();
    std::io::Read::read_to_string(&mut stream, &mut stats).unwrap();
    let total = stats
        .lines()
        .find_map(|line| line.strip_prefix("STAT total_connections "));
    let total: u32 = total.unwrap().trim().parse().unwrap();
    // 32 at a time; a request that is given up takes its connection along, and the server counts its own too.
    assert!((2..=64).contains(&total), "{total} since the start");
    assert_eq!(pair.remotes[0].stats()[0].failures, 0);
}

/// What a server was not told while it stood still is told late, and to the memory of other processes too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_processes_hear_late_of_what_was_deleted_while_the_server_stood_still() {
    let dir = TempDir::new().unwrap();
    let server = redis(dir.path(), Setup::Single);
    let pair = Pair::new(&options(Kind::Redis, &[server.port()]));
    pair.rows.set(1, 10);
    assert_eq!(
        (get(&pair.a, 1).await, get(&pair.b, 1).await),
        (Some(10), Some(10))
    );
    tokio::time::sleep(Duration::from_millis(500)).await;
    server.freeze(true);
    pair.rows.set(1, 11);
    pair.a.invalidate(&1, None).await;
    assert_eq!(get(&pair.b, 1).await, Some(10), "it has heard of nothing");
    server.freeze(false);
    // The subscription outlives so short a pause: nothing but the message is heard.
    let begin = Instant::now();
    eventually("the other sees it", async || {
        get(&pair.b, 1).await == Some(11)
    })
    .await;
    assert!(begin.elapsed() < Duration::from_secs(5));
}

/// That a server cannot be used is known before anybody needs it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_cannot_be_used_is_noticed_at_the_start() {
    let dir = TempDir::new().unwrap();
    let settings = |password: Option<&str>| RedisSettings {
        dir: dir.path().join("locked"),
        port: free_port().unwrap(),
        password: password.map(str::to_owned),
        setup: Setup::Single,
    };
    let locked = Redis::start(settings(Some("right"))).unwrap();
    let open = redis(dir.path(), Setup::Single);
    let nobody = free_port().unwrap();
    for (kind, port, password, up) in [
        (Kind::Redis, open.port(), None, true),
        (Kind::Redis, locked.port(), Some("right"), true),
        (Kind::Redis, locked.port(), Some("wrong"), false),
        (Kind::Redis, locked.port(), None, false),
        (Kind::Redis, nobody, None, false),
        (Kind::Memcached, nobody, None, false),
        (Kind::RedisCluster, nobody, None, false),
    ] {
        let password = password.map(|text: &str| tidegate_cache::Password(text.to_owned()));
        let remote = Remote::open(Options {
            password,
            ..options(kind.clone(), &[port])
        });
        let remote = remote.unwrap();
        if up {
            tokio::time::sleep(Duration::from_millis(500)).await;
            assert!(remote.stats()[0].up);
        } else {
            eventually("it is known", async || !remote.stats()[0].up).await;
            let begin = Instant::now();
            let cache = Cache::new(Shared(Arc::new(Rows::default())), LIMITS, Some(remote));
            assert_eq!(get(&cache, 1).await, None, "it works without");
            // Of a cluster only one part was asked.
            let waits = u32::from(kind == Kind::RedisCluster);
            assert!(
                begin.elapsed() < TIMEOUT * (1 + 2 * waits),
                "and nobody waits for it"
            );
        }
    }
}
