//! Wrong passwords, counted by all processes together.

use std::fs;
use std::path::Path;

use reqwest::Method;
use serde_json::json;
use servers::{Redis, RedisSettings, Setup};
use tempfile::TempDir;
use tidegate_tests::answer::Answer;
use tidegate_tests::api::{Api, PASSWORD, answered};
use tidegate_tests::eventually::{SOON, eventually};
use tidegate_tests::gateway::address;
use tidegate_tests::process::Process;

/// Two processes on the same data, and their Redis.
struct Pair {
    apis: [Api; 2],
    _processes: [Process; 2],
    redis: Redis,
    _dir: TempDir,
}

impl Pair {
    async fn start(account_attempts: u32) -> Self {
        let dir = TempDir::new().expect("temporary folders can be made");
        let redis = Redis::start(RedisSettings {
            dir: dir.path().join("redis"),
            port: servers::free_port().expect("a port is free"),
            password: None,
            setup: Setup::Single,
        });
        let redis = redis.expect("Redis starts");
        let file = dir.path().join("users.toml");
        let configuration = format!(
            r#"admin = {{ address = "127.0.0.1:0" }}
listen = {{ address = "127.0.0.1:0" }}
data = {{ dir = "data" }}
hash = {{ memory = "8KiB", iterations = 1 }}
lockout = {{ attempts = 3, account_attempts = {account_attempts} }}
cache.remote = {{ kind = "redis", nodes = ["127.0.0.1:{}"], timeout = "2s" }}
"#,
            redis.port()
        );
        fs::write(&file, configuration).expect("the folder is new");
        let (first, one) = process(&file).await;
        let (second, other) = process(&file).await;
        Self {
            apis: [one, other],
            _processes: [first, second],
            redis,
            _dir: dir,
        }
    }

    /// Tries to log in at one of the processes, from an address.
    async fn login(&self, at: usize, name: &str, password: &str, from: &str) -> Answer {
        let request = self.apis[at].request(Method::POST, "/v1/login");
        let login = json!({ "username": name, "password": password });
        answered(request.header("x-forwarded-for", from).json(&login)).await
    }

    async fn wrong(&self, at: usize, name: &str, from: &str) -> u16 {
        self.login(at, name, "wrong password", from).await.status
    }
}

async fn process(file: &Path) -> (Process, Api) {
    let mut process = Process::start(&["users".into(), "-c".into(), file.into()], &[]);
    let ready = process.ready().await;
    (process, Api::plain(address(&ready, "http")))
}

const HERE: &str = "192.0.2.1";

#[tokio::test(flavor = "multi_thread")]
async fn guesses_at_several_processes_are_no_more_than_at_one() {
    let pair = Pair::start(100).await;
    pair.apis[0].register("anna").await.expect(201);
    // A name that nobody has is counted as well.
    for name in ["anna", "nobody"] {
        for at in [0, 1, 0] {
            assert_eq!(pair.wrong(at, name, HERE).await, 401);
        }
        for at in [1, 0] {
            let refused = pair.login(at, name, PASSWORD, HERE).await;
            refused.problem(429);
            let wait: u64 = refused.header("retry-after").parse().unwrap();
            assert!((20..=29).contains(&wait), "{wait}");
        }
    }
    assert_eq!(
        pair.login(1, "anna", PASSWORD, "192.0.2.2").await.status,
        200
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn guesses_at_once_at_several_processes_are_no_more_either() {
    let pair = Pair::start(100).await;
    let mut guesses = Vec::new();
    for number in 0..20 {
        let request = pair.apis[number % 2].request(Method::POST, "/v1/login");
        let login = json!({ "username": "anna", "password": "wrong password" });
        let request = request.header("x-forwarded-for", HERE).json(&login);
        guesses.push(tokio::spawn(answered(request)));
    }
    let mut heard = 0;
    for guess in guesses {
        match guess.await.unwrap().status {
            401 => heard += 1,
            status => assert_eq!(status, 429),
        }
    }
    assert!((1..=3).contains(&heard), "{heard}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_password_is_right_everywhere_and_so_is_an_address() {
    let pair = Pair::start(6).await;
    pair.apis[0].register("anna").await.expect(201);
    for _ in 0..2 {
        assert_eq!(pair.wrong(0, "anna", HERE).await, 401);
        assert_eq!(pair.wrong(1, "anna", HERE).await, 401);
        assert_eq!(pair.login(1, "anna", PASSWORD, HERE).await.status, 200);
    }
    // The address is a familiar one to the other process too, by each name.
    for number in 0..6 {
        let from = format!("198.51.100.{number}");
        let status = pair.wrong(number % 2, "anna", &from).await;
        assert!([401, 429].contains(&status));
    }
    pair.login(0, "anna", PASSWORD, "203.0.113.1")
        .await
        .problem(429);
    for at in [0, 1] {
        assert_eq!(pair.login(at, "anna", PASSWORD, HERE).await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_each_process_counts_for_itself() {
    let mut pair = Pair::start(100).await;
    pair.apis[0].register("anna").await.expect(201);
    assert_eq!(pair.wrong(0, "anna", HERE).await, 401);
    pair.redis.kill();
    for (at, left) in [(0, 2), (1, 3)] {
        for _ in 0..left {
            assert_eq!(pair.wrong(at, "anna", HERE).await, 401);
        }
        pair.login(at, "anna", PASSWORD, HERE).await.problem(429);
        let elsewhere = pair.login(at, "anna", PASSWORD, "192.0.2.2").await;
        assert_eq!(elsewhere.status, 200);
    }
    pair.redis.restart().expect("Redis starts again");
    eventually("they count together again", SOON, async || {
        let from = format!("2001:db8:{:x}::1", rand::random::<u16>());
        for at in [0, 1, 0] {
            assert_eq!(pair.wrong(at, "nobody", &from).await, 401);
        }
        (pair.wrong(1, "nobody", &from).await == 429).then_some(())
    })
    .await;
}
