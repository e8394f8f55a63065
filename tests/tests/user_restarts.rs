//! The user services started while a shard's primary is away.

use std::path::Path;
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;
use tidegate_tests::answer::Answer;
use tidegate_tests::api::{Api, PASSWORD, answered};
use tidegate_tests::binary::run;
use tidegate_tests::eventually::eventually;
use tidegate_tests::user_services::{Servers, UserService};

/// In which three requests are refused: no longer than a single one may wait for a server, and as long again for a busy machine.
const LIMIT: Duration = Duration::from_secs(2);
/// How soon a shard is used that is back, on a busy machine.
const BACK: Duration = Duration::from_secs(10);

fn servers() -> Servers {
    Servers::start(&Path::new(env!("CARGO_TARGET_TMPDIR")).join("mariadb"))
}

/// A user whose row and whose name are on the same shard, and its access token.
struct User {
    name: String,
    access: String,
}

async fn account(api: &Api, servers: &Servers, name: &str) -> Option<(User, usize)> {
    let id = api.register(name).await.expect(201).json();
    let id: u64 = id["id"].as_str()?.parse().ok()?;
    let shard = (id >> 13 & 4095) as usize * 2 / 4096;
    let claims = format!("SELECT COUNT(*) FROM claims WHERE value = '{name}'");
    let access = api.login(name).await.access;
    let user = User {
        name: name.to_owned(),
        access,
    };
    (servers.ask(shard, &claims).trim() == "1").then_some((user, shard))
}

/// A user on each of the two shards.
async fn users(api: &Api, servers: &Servers) -> [User; 2] {
    let mut found = [None, None];
    for number in 0..64 {
        let account = account(api, servers, &format!("user{number}")).await;
        if let Some((user, shard)) = account {
            found[shard].get_or_insert(user);
        }
        if found.iter().all(Option::is_some) {
            break;
        }
    }
    found.map(|user| user.expect("by chance 1 in 100 million"))
}

async fn rename(api: &Api, user: &User) -> Answer {
    let request = api
        .request(Method::PATCH, "/v1/me")
        .bearer_auth(&user.access);
    answered(request.json(&json!({ "display_name": "later" }))).await
}

async fn health(service: &UserService) -> serde_json::Value {
    let health = answered(service.api.request(Method::GET, "/healthz")).await;
    health.expect(200).json()
}

/// What `tidegate store status` prints, and its exit status.
fn status(service: &UserService) -> (String, Option<i32>) {
    let folder = service.file.parent().expect("it is in a folder");
    let name = service.file.file_name().and_then(|name| name.to_str());
    let name = name.expect("it is text");
    let status = run(folder, &["store", "status", "-c", name]);
    let said = [status.stdout, status.stderr].concat();
    (
        String::from_utf8_lossy(&said).into_owned(),
        status.status.code(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_while_a_shard_is_dead_serves_the_users_of_the_other() {
    let mut servers = servers();
    let mut service = servers.service("one", "").await;
    let [first, second] = users(&service.api, &servers).await;
    let (shown, code) = status(&service);
    assert_eq!(code, Some(0), "{shown}");

    servers.end_primary(1);
    service.crash().await;
    let api = &service.api;
    api.login(&first.name).await;
    rename(api, &first).await.expect(200);
    {
        let body = json!({ "username": second.name, "password": PASSWORD });
        let asked = Instant::now();
        for refused in [
            api.post("/v1/login", &body).await,
            api.get("/v1/me", &second.access).await,
            rename(api, &second).await,
        ] {
            assert!(!refused.header("retry-after").is_empty());
            refused.problem(503);
        }
        assert!(asked.elapsed() < LIMIT, "{:?}", asked.elapsed());
    }
    let down = json!({ "status": "degraded", "shards_down": [1] });
    assert_eq!(health(&service).await, down);
    for (metric, wanted) in [("up", 0.0), ("used", 0.0)] {
        let metric = format!("tidegate_users_shard_{metric}{{shard=\"1\"}}");
        assert_eq!(service.admin.metric(&metric).await, Some(wanted));
    }
    let (shown, code) = status(&service);
    assert!(
        shown.contains("shard 0: buckets 0-2047; primary answers\n"),
        "{shown}"
    );
    let away = "shard 1: buckets 2048-4095; primary away: shard 1: 127.0.0.1:";
    assert!(shown.contains(away), "{shown}");
    assert!(shown.contains("\nwithout those of shard 1\n"), "{shown}");
    assert!(shown.contains("\nusers  "), "{shown}");
    assert_eq!(code, Some(1), "{shown}");

    servers.crash_primary(1);
    eventually("the shard is used", BACK, async || {
        (rename(api, &second).await.status == 200).then_some(())
    })
    .await;
    for user in [&first, &second] {
        let access = api.login(&user.name).await.access;
        let me = api.get("/v1/me", &access).await.expect(200).json();
        assert_eq!(me["display_name"], "later");
        let history = api.get("/v1/me/history", &access).await;
        history.expect(200);
    }
    assert_eq!(health(&service).await, json!({ "status": "ok" }));
    let used = "tidegate_users_shard_used{shard=\"1\"}";
    assert_eq!(service.admin.metric(used).await, Some(1.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_state_of_the_servers_is_shown_when_the_services_cannot_start() {
    let mut servers = servers();
    let service = servers.service("one", "").await;
    servers.end_primary(0);
    let (shown, code) = status(&service);
    assert_eq!(code, Some(1), "{shown}");
    let unknown = "2 shards, 4096 buckets, shard map not known: ";
    assert!(shown.starts_with(unknown), "{shown}");
    let away = "\nshard 0: buckets ?; primary away: shard 0: 127.0.0.1:";
    assert!(shown.contains(away), "{shown}");
    assert!(
        shown.contains("\nshard 1: buckets ?; primary answers\n"),
        "{shown}"
    );
    servers.crash_primary(0);

    // A server of another data set, and one that is read-only.
    servers.ask(1, "UPDATE shard_identity SET data_set = 7");
    servers.ask(0, "SET GLOBAL read_only = ON");
    let (shown, code) = status(&service);
    assert_eq!(code, Some(1), "{shown}");
    assert!(
        shown.contains("/users is read-only, and so no primary"),
        "{shown}"
    );
    let foreign = "/users is not used: it holds shard 1 of data set 0000000000000007\n";
    assert!(shown.contains(foreign), "{shown}");
    assert!(shown.contains("\nwithout those of shard 1\n"), "{shown}");
}

fn admins(servers: &Servers) -> i32 {
    let count = |shard| {
        let count = servers.ask(shard, "SELECT COUNT(*) FROM users WHERE role = 'admin'");
        count.trim().parse::<i32>().expect("a number")
    };
    count(0) + count(1)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_administrator_is_made_when_every_shard_is_there_and_no_second_one() {
    let mut servers = servers();
    drop(servers.service("none", "").await);
    let start = async |servers: &Servers, name: &str| {
        let keys = format!(
            "[bootstrap]\nusername = \"{name}\"\nemail = \"{name}@example.org\"\npassword = \"{PASSWORD}\""
        );
        servers.service(name, &keys).await
    };
    servers.end_primary(1);
    let service = start(&servers, "root").await;
    let body = json!({ "username": "root", "password": PASSWORD });
    tokio::time::sleep(Duration::from_secs(3)).await;
    let refused = service.api.post("/v1/login", &body).await;
    assert!(matches!(refused.status, 401 | 503), "{}", refused.status);
    servers.crash_primary(1);
    eventually("the administrator is made", BACK, async || {
        (admins(&servers) == 1).then_some(())
    })
    .await;
    service.api.post("/v1/login", &body).await.expect(200);
    // One that wants another, and cannot see that there is one.
    users(&service.api, &servers).await;
    drop(service);
    servers.execute("UPDATE users SET role = 'user'");
    servers.ask(1, "UPDATE users SET role = 'admin' LIMIT 1");
    servers.end_primary(1);
    let service = start(&servers, "second").await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    servers.crash_primary(1);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(health(&service).await, json!({ "status": "ok" }));
    assert_eq!(admins(&servers), 1);
}
