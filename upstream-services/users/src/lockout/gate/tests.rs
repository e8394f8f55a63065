//! What processes that share a Redis promise.

use std::future::Future;
use std::net::Ipv4Addr;
use std::time::Instant;

use ::servers::{Redis, RedisSettings, Setup};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use super::*;
use crate::config::RemoteConfig;

const HERE: Option<IpAddr> = Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)));

fn redis(dir: &TempDir) -> Redis {
    let settings = RedisSettings {
        dir: dir.path().join("redis"),
        port: ::servers::free_port().unwrap(),
        password: None,
        setup: Setup::Single,
    };
    Redis::start(settings).unwrap()
}

/// The gate of another process each time.
fn gate(redis: &Redis) -> Gate {
    let remote = format!(
        "kind = 'redis'\nnodes = ['127.0.0.1:{}']\ntimeout = '5s'",
        redis.port()
    );
    let remote: RemoteConfig = toml::from_str(&remote).unwrap();
    let remote = Remote::open(remote.options()).unwrap();
    let config = LockoutConfig {
        attempts: 2,
        ..LockoutConfig::default()
    };
    let refused = IntCounter::new("refused", "refused").unwrap();
    Gate::new(&config, &refused, Some(&remote))
}

/// The shared count of who guesses here: wrong guesses, and those that run.
fn count(redis: &Redis) -> (u32, u32) {
    let key = format!("tidegate:lockout:{}", Key::near("anna", HERE));
    let field = |field: &str| {
        let answer = redis.tell(&format!("HGET {key} {field}")).unwrap();
        let number = answer.lines().nth(1).unwrap_or_default();
        number.parse().unwrap_or(0)
    };
    (field("w"), field("r"))
}

/// Begins something while the server stands still, and gives it up.
async fn give_up<T>(redis: &Redis, begun: impl Future<Output = T>) {
    redis.tell("CLIENT PAUSE 700").unwrap();
    let ended = timeout(Duration::from_millis(100), begun).await;
    assert!(ended.is_err(), "the server answers");
    sleep(Duration::from_secs(1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_gives_up_leaves_no_guess_running() {
    let dir = TempDir::new().unwrap();
    let redis = redis(&dir);
    let gate = gate(&redis);
    let now = Time::now();
    let login = gate.admit("anna", HERE, now).await.unwrap();
    login.right(HERE, std::iter::once("anna")).await;
    give_up(&redis, gate.admit("anna", HERE, now)).await;
    assert_eq!(count(&redis), (0, 0));
    // What was decided is counted all the same.
    let attempt = gate.admit("anna", HERE, now).await.unwrap();
    give_up(&redis, attempt.wrong()).await;
    assert_eq!(count(&redis), (1, 0));
    let attempt = gate.admit("anna", HERE, now).await.unwrap();
    give_up(&redis, attempt.right(HERE, std::iter::once("anna"))).await;
    assert_eq!(count(&redis), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_is_familiar_from_the_last_login_on() {
    let dir = TempDir::new().unwrap();
    let redis = redis(&dir);
    let gate = gate(&redis);
    let login = async || {
        let attempt = gate.admit("anna", HERE, Time::now()).await.unwrap();
        attempt.right(HERE, std::iter::once("anna")).await;
    };
    login().await;
    let key = format!("tidegate:familiar:{}", Key::near("anna", HERE));
    let expire = redis.tell(&format!("PEXPIRE {key} 60000")).unwrap();
    assert!(expire.starts_with(":1"), "{expire}");
    login().await;
    let left = redis.tell(&format!("PTTL {key}")).unwrap();
    let left = left.lines().next().unwrap_or_default();
    let left: u64 = left.trim_start_matches(':').parse().unwrap();
    assert!(left > 89 * 86_400_000, "{left}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_refused_here_asks_no_server() {
    let dir = TempDir::new().unwrap();
    let redis = redis(&dir);
    let gate = gate(&redis);
    for _ in 0..2 {
        let attempt = gate.admit("anna", HERE, Time::now()).await.unwrap();
        attempt.wrong().await;
    }
    redis.tell("CLIENT PAUSE 1500").unwrap();
    let begin = Instant::now();
    let refused = gate.admit("anna", HERE, Time::now()).await;
    assert!(matches!(refused, Err(Error::LockedOut(_))));
    let time = begin.elapsed();
    assert!(time < Duration::from_millis(500), "{time:?}");
}
