//! With Redis behind the memory.

use ::servers::{Redis, RedisSettings, Setup};

use super::*;

fn redis(dir: &Path) -> Redis {
    let settings = RedisSettings {
        dir: dir.join("redis"),
        port: ::servers::free_port().unwrap(),
        password: None,
        setup: Setup::Single,
    };
    Redis::start(settings).unwrap()
}

fn remote(port: u16) -> impl FnOnce(&mut Config) {
    move |config| {
        let remote = format!("kind = 'redis'\nnodes = ['127.0.0.1:{port}']\ntimeout = '2s'");
        config.cache.remote = Some(toml::from_str(&remote).unwrap());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_profile_under_the_key_of_another_is_not_taken_for_theirs() {
    if separate::is_wanted() {
        return; // they have a server of their own
    }
    let dir = TempDir::new().unwrap();
    let redis = redis(dir.path());
    let home = Home::with(remote(redis.port())).await;
    let (anna, _) = home.session("anna").await;
    let (berta, tokens) = home.session("berta").await;
    let token = text(&tokens, "access_token");
    home.get(&format!("/v1/users/{anna}"), &token).await;
    home.get(&format!("/v1/users/{berta}"), &token).await;
    let key = |id: &str| format!("tidegate:profile:{id}");
    let copied = redis.tell(&format!("COPY {} {} REPLACE", key(&berta), key(&anna)));
    assert!(copied.unwrap().starts_with(":1"), "both are there");
    // Nothing in memory.
    let home = home.restart(remote(redis.port())).await;
    let read = home.get(&format!("/v1/users/{anna}"), &token).await;
    assert_eq!(read.status, 200, "{}", read.text());
    assert_eq!(
        (&read.json()["id"], &read.json()["username"]),
        (&json!(anna), &json!("anna"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_counts_cache_servers_that_cannot_be_used() {
    if separate::is_wanted() {
        return; // they have a server of their own
    }
    let home = Home::with(remote(::servers::free_port().unwrap())).await;
    let start = std::time::Instant::now();
    let health = loop {
        let answer = home.get("/healthz", "").await;
        assert_eq!(answer.status, 200, "slower, and there");
        if answer.json()["status"] == "degraded" {
            break answer.json();
        }
        assert!(start.elapsed() < Duration::from_secs(10));
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(
        health,
        json!({ "status": "degraded", "cache_servers_down": 1 })
    );
    assert!(
        home.scrape()
            .contains("tidegate_users_remote_up{server=\"127.0.0.1:")
    );
    home.session("anna").await;
}
