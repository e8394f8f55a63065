//! What goes wrong without the server being down.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use super::*;

/// A way to a server on which each answer takes as long; where it begins.
fn slow_way(server: u16, takes: Duration) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (mut client, mut server) = (
                client.unwrap(),
                TcpStream::connect(("127.0.0.1", server)).unwrap(),
            );
            let (mut answers, mut back) =
                (server.try_clone().unwrap(), client.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut client, &mut server));
            std::thread::spawn(move || {
                let mut bytes = [0; 4096];
                while let Ok(length @ 1..) = answers.read(&mut bytes) {
                    std::thread::sleep(takes);
                    if back.write_all(&bytes[..length]).is_err() {
                        return;
                    }
                }
            });
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_is_not_down_because_many_wait_for_a_connection() {
    let dir = TempDir::new().unwrap();
    let server = Memcached::start(dir.path(), free_port().unwrap()).unwrap();
    let way = slow_way(server.port(), Duration::from_millis(60));
    let pair = Pair::new(&options(Kind::Memcached, &[way]));
    for key in 0..300 {
        pair.rows.set(key, u64::from(key));
    }
    let many = pair.a.get_many((0..300).collect()).await.unwrap();
    assert_eq!(many.len(), 300, "the store has the rest");
    let stats = &pair.remotes[0].stats()[0];
    assert!(stats.up && stats.failures == 0, "{stats:?}");
    assert!(stats.crowded > 100, "{stats:?}");
    // What is deleted meanwhile waits for its place.
    let deletions = (0..200).map(|key| {
        let cache = pair.a.clone();
        async move { cache.invalidate(&key, None).await }
    });
    futures::future::join_all(deletions).await;
    let stats = &pair.remotes[0].stats()[0];
    assert!(
        stats.up && stats.failures == 0 && stats.missed == 0,
        "{stats:?}"
    );
}

/// Logs in as somebody who may use the keys and the channel of the cache, and these commands.
fn as_user(server: &Redis, commands: &str) -> Options {
    let keys = "~test:* &test:*";
    server
        .tell(&format!(
            "ACL SETUSER cache reset on >secret {keys} {commands}"
        ))
        .unwrap();
    Options {
        user: Some("cache".into()),
        password: Some(tidegate_cache::Password("secret".into())),
        ..options(Kind::Redis, &[server.port()])
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_script_that_is_refused_leaves_the_server_in_use() {
    let dir = TempDir::new().unwrap();
    let server = redis(dir.path(), Setup::Single);
    let user = as_user(&server, "+get +set +eval +exists +publish +subscribe");
    let pair = Pair::new(&user);
    pair.rows.set(1, 10);
    let script = async |script: &str| pair.remotes[0].script("n", "1", script, &[]).await;
    for refused in [
        "redis.call('HSET', KEYS[1], 'a', 1) return 1",
        "redis.call('SET', KEYS[1], 'a') return redis.call('INCR', KEYS[1])",
        "return redis.call('GET', 'others')",
        "return",
        "no Lua",
    ] {
        assert_eq!(script(refused).await, None, "{refused}");
        let stats = &pair.remotes[0].stats()[0];
        assert!(stats.up && stats.failures == 0, "{refused}: {stats:?}");
    }
    assert_eq!(script("return 7").await, Some(7));
    assert_eq!(
        (get(&pair.a, 1).await, get(&pair.b, 1).await),
        (Some(10), Some(10))
    );
    assert_eq!(pair.rows.asked(1), 1);
}

/// The commands that docs/users.md names, and no others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_commands_that_the_documents_name_are_enough() {
    let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/users.md");
    let docs = std::fs::read_to_string(docs).unwrap();
    let (_, commands) = docs
        .split_once("ACL SETUSER users on >PASSWORD ~tidegate:* &tidegate:* ")
        .unwrap();
    let (commands, _) = commands.split_once('`').unwrap();
    let commands = commands.split_whitespace().collect::<Vec<_>>().join(" ");
    let dir = TempDir::new().unwrap();
    let servers = cluster(dir.path());
    let more = format!("{commands} +cluster|slots");
    let users: Vec<_> = servers
        .iter()
        .map(|server| as_user(server, &more))
        .collect();
    let user = Options {
        kind: Kind::RedisCluster,
        ..users[0].clone()
    };
    keeps_its_promises(user, true).await;
    let server = redis(dir.path(), Setup::Single);
    let user = as_user(&server, &commands);
    keeps_its_promises(user.clone(), true).await;
    a_load_that_fails_keeps_nobody_waiting(user.clone()).await;
    let remote = Remote::open(user).unwrap();
    let counts = "redis.call('TIME') redis.call('HSET', KEYS[1], 'a', 1) redis.call('HMGET', KEYS[1], 'a')
        redis.call('PEXPIRE', KEYS[1], 1) redis.call('DEL', KEYS[1]) return redis.call('EXISTS', KEYS[1])";
    assert_eq!(remote.script("n", "1", counts, &[]).await, Some(0));
}

/// A source that fails as long as it is told to.
#[derive(Clone, Default)]
struct Moody(Arc<AtomicBool>, Arc<AtomicU64>);

impl Source for Moody {
    type Key = u32;
    type Value = u64;
    type Error = &'static str;
    const NAME: &'static str = "moody";

    async fn load(&self, key: u32, _: Need) -> Result<Option<u64>, &'static str> {
        self.1.fetch_add(1, SeqCst);
        match self.0.load(SeqCst) {
            true => Err("not now"),
            false => Ok(Some(key.into())),
        }
    }

    fn version(value: &u64) -> u64 {
        *value
    }
}

/// Whoever comes after a load that failed loads for all.
async fn a_load_that_fails_keeps_nobody_waiting(options: Options) {
    let source = Moody::default();
    let cache = || {
        let remote = Remote::open(options.clone()).unwrap();
        Cache::new(source.clone(), LIMITS, Some(remote))
    };
    let (a, b, c) = (cache(), cache(), cache());
    source.0.store(true, SeqCst);
    a.get(1).await.unwrap_err();
    a.get_many(vec![2, 3]).await.unwrap_err();
    source.0.store(false, SeqCst);
    source.1.store(0, SeqCst);
    for cache in [b, c] {
        for key in [1, 2, 3] {
            assert_eq!(cache.get(key).await, Ok(Some(u64::from(key))));
        }
    }
    assert_eq!(source.1.load(SeqCst), 3, "the third has it from the second");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_load_that_fails_gives_its_lease_back_to_redis() {
    let dir = TempDir::new().unwrap();
    let server = redis(dir.path(), Setup::Single);
    a_load_that_fails_keeps_nobody_waiting(options(Kind::Redis, &[server.port()])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_load_that_fails_gives_its_lease_back_to_memcached() {
    let dir = TempDir::new().unwrap();
    let server = Memcached::start(dir.path(), free_port().unwrap()).unwrap();
    a_load_that_fails_keeps_nobody_waiting(options(Kind::Memcached, &[server.port()])).await;
}
