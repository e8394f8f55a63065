//! The user system on database servers: `tidegate up --data servers`.

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use reqwest::Method;
use rustix::process::Signal;
use serde_json::json;
use tidegate_tests::answer::Answer;
use tidegate_tests::api::{Api, answered};
use tidegate_tests::binary::{path, repository};
use tidegate_tests::edge::{Edge, Home};
use tidegate_tests::eventually::eventually;
use tidegate_tests::process::send;

/// How long the services may wait for a server.
const LIMIT: Duration = Duration::from_secs(2);

/// How long the gateway waits for the answer to a check, which is half of this, on a busy machine.
const HEALTH: Duration = Duration::from_secs(1);

/// A user, and on which of the two shards.
struct User {
    name: String,
    access: String,
    shard: u64,
}

/// An edge whose services wait no longer than [`LIMIT`] for a server.
async fn up(home: &Home) -> Edge {
    let conf = repository().join("conf/users-servers.toml");
    let conf = std::fs::read_to_string(conf).expect("it is in the repository");
    let conf = conf.replace("../.tidegate", "..");
    let limits = "[data]\nstatement_timeout = \"2s\"\nacquire_timeout = \"2s\"\n";
    home.configure("users-servers.toml", &conf.replace("[data]\n", limits));
    home.up_on_servers().await
}

async fn users(api: &Api, count: usize) -> Vec<User> {
    let mut users = Vec::new();
    for number in 0..count {
        let name = format!("user{number}");
        let account = api.register(&name).await.expect(201).json();
        let id: u64 = account["id"]
            .as_str()
            .and_then(|id| id.parse().ok())
            .expect("an id");
        users.push(User {
            access: api.login(&name).await.access,
            shard: (id >> 13 & 4095) * 2 / 4096,
            name,
        });
    }
    users
}

/// Writes to the user's shard alone.
async fn rename(api: &Api, user: &User, name: &str) -> Answer {
    let request = api
        .request(Method::PATCH, "/v1/me")
        .bearer_auth(&user.access);
    answered(request.json(&json!({ "display_name": name }))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_stands_still_is_not_noticed_by_the_others_and_comes_back() {
    let home = Home::default();
    let edge = up(&home).await;
    // Not through the gateway, which limits how many register.
    let api = edge.users();
    let users = users(&api, 12).await;
    let on = |shard| users.iter().filter(move |user| user.shard == shard);
    assert!(
        on(0).count() > 0 && on(1).count() > 0,
        "by chance 1 in 2,000"
    );

    let primary = edge.server("shard-0").unwrap();
    send(primary, Signal::STOP);
    // A gateway that checks it must not take the other shard's users out.
    let asked = Instant::now();
    answered(api.request(Method::GET, "/healthz"))
        .await
        .expect(200);
    assert!(asked.elapsed() < HEALTH, "{:?}", asked.elapsed());
    let mut slowest = Duration::ZERO;
    for round in 0..2 {
        for user in on(0).take(2) {
            let began = Instant::now();
            let refused = rename(&api, user, "lost").await;
            refused.problem(503);
            slowest = slowest.max(began.elapsed());
        }
        for user in on(1) {
            let began = Instant::now();
            rename(&api, user, &format!("{round}")).await.expect(200);
            assert!(began.elapsed() < LIMIT, "{:?}", began.elapsed());
        }
    }
    assert!(slowest < LIMIT * 3, "{slowest:?}");
    let health = answered(api.request(Method::GET, "/healthz"))
        .await
        .expect(200);
    assert_eq!(
        health.json(),
        json!({ "status": "degraded", "shards_down": [0] })
    );

    send(primary, Signal::CONT);
    for user in on(0) {
        eventually("the shard is back", LIMIT * 10, async || {
            (rename(&api, user, "kept").await.status == 200).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_acknowledged_write_is_lost_when_every_server_is_killed() {
    let home = Home::default();
    let edge = up(&home).await;
    let api = edge.users();
    let users = users(&api, 6).await;
    for round in 0..2 {
        for user in &users {
            let name = format!("{} {round}", user.name);
            rename(&api, user, &name).await.expect(200);
        }
        for name in ["shard-0", "shard-1", "shard-0-replica", "shard-1-replica"] {
            send(edge.server(name).unwrap(), Signal::KILL);
        }
        for user in &users {
            let me = eventually("it is started again", LIMIT * 20, async || {
                let me = api.get("/v1/me", &user.access).await;
                (me.status == 200).then_some(me)
            })
            .await;
            assert_eq!(me.json()["display_name"], format!("{} {round}", user.name));
            eventually("it takes writes again", LIMIT * 20, async || {
                (rename(&api, user, "again").await.status == 200).then_some(())
            })
            .await;
        }
    }
    for user in &users {
        api.login(&user.name).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_commands_are_told_where_the_servers_are() {
    let home = Home::default();
    let edge = up(&home).await;
    let file = edge.dir.join("servers/environment");
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let password = std::fs::read_to_string(edge.dir.join("servers/password")).unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(!text.contains(password.trim()), "the password is in sight");

    let script = "set -a; . \"$DIR/servers/environment\"
        exec \"$TIDEGATE\" store status -c \"$DIR/conf/users-servers.toml\"";
    let mut command = std::process::Command::new("sh");
    command.args(["-c", script]).env("DIR", &edge.dir);
    let output = command.env("TIDEGATE", path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert_eq!(said.matches("primary answers").count(), 2, "{said}");
}
