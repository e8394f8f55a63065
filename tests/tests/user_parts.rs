//! The parts of the user services, each in a process of its own, behind a gateway: as docs/users.md has it.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::fs;
use std::path::Path;
use std::time::Duration;

use reqwest::Method;
use rustix::process::Signal;
use serde_json::json;
use servers::{Redis, RedisSettings, Setup, free_port};
use tempfile::TempDir;
use tidegate_tests::api::{Api, PASSWORD, answered};
use tidegate_tests::binary::repository;
use tidegate_tests::eventually::{SOON, eventually};
use tidegate_tests::gateway::Gateway;
use tidegate_tests::process::Process;

const PARTS: [&str; 4] = ["accounts", "sessions", "profiles", "history"];

/// The processes of the parts, in the order of [`PARTS`].
struct Parts {
    processes: Vec<Process>,
    gateway: Gateway,
    api: Api,
    home: TempDir,
    _redis: Redis,
}

/// The configurations of the manual for this, of the gateway and of the services.
fn documented() -> [String; 2] {
    let manual = fs::read_to_string(repository().join("docs/users.md")).unwrap();
    let (_, chapter) = manual.split_once("## Each part by itself").unwrap();
    ["gateway", "users"].map(|role| {
        let (_, rest) = chapter
            .split_once(&format!("```toml\n# {role}.toml\n"))
            .unwrap();
        rest.split_once("```").unwrap().0.to_owned()
    })
}

fn start(part: &str, home: &Path) -> Process {
    let args = ["users", "--service", part, "-c"];
    let mut args: Vec<_> = args.into_iter().map(Into::into).collect();
    args.push(home.join("users.toml").into());
    Process::start(&args, &[])
}

impl Parts {
    async fn start() -> Self {
        let home = TempDir::new().unwrap();
        let redis = RedisSettings {
            dir: home.path().join("redis"),
            port: free_port().unwrap(),
            password: None,
            setup: Setup::Single,
        };
        let redis = Redis::start(redis).unwrap();
        let [mut gateway, mut users] = documented();
        let mut replace = |old: &str, new: String| {
            assert!(gateway.contains(old) || users.contains(old), "{old}");
            gateway = gateway.replace(old, &new);
            users = users.replace(old, &new);
        };
        for number in 1..=4 {
            for old in [format!(":701{number}"), format!(":791{number}")] {
                replace(&old, format!(":{}", free_port().unwrap()));
            }
        }
        replace(":6379", format!(":{}", redis.port()));
        replace(":9901", ":0".into());
        replace(":9080", ":0".into());
        fs::create_dir(home.path().join("secrets")).unwrap();
        fs::write(
            home.path().join("secrets/services"),
            "hidden and long enough",
        )
        .unwrap();
        let cheap = "hash = { memory = \"8KiB\", iterations = 1 }\n";
        fs::write(home.path().join("users.toml"), format!("{cheap}{users}")).unwrap();
        let mut processes = Vec::new();
        for part in PARTS {
            let mut process = start(part, home.path());
            process.ready().await;
            processes.push(process);
        }
        let gateway = Gateway::with(&gateway).await;
        Self {
            api: Api::plain(gateway.listener("http")),
            processes,
            gateway,
            home,
            _redis: redis,
        }
    }
}

#[tokio::test]
async fn parts_in_processes_of_their_own_are_one_service() {
    let mut parts = Parts::start().await;
    let api = parts.api.clone();
    api.register("ada").await.expect(201);
    api.try_login("ada", "wrong password").await.expect(401);
    let tokens = api.login("ada").await;
    let patch = api
        .request(Method::PATCH, "/v1/me")
        .bearer_auth(&tokens.access);
    answered(patch.json(&json!({ "display_name": "Ada" })))
        .await
        .expect(200);
    let me = api.get("/v1/me", &tokens.access).await.expect(200);
    assert_eq!(me.json()["display_name"], "Ada");
    eventually("the history knows of it", SOON, async || {
        let history = api.get("/v1/me/history", &tokens.access).await.expect(200);
        (history.json()["items"].as_array()?.len() == 2).then_some(())
    })
    .await;
    let refreshed = api.refresh(&tokens.refresh).await.expect(200);
    let access = refreshed.json()["access_token"]
        .as_str()
        .unwrap()
        .to_owned();
    // Ended in one part, refused in all.
    let logout = api.request(Method::POST, "/v1/logout").bearer_auth(&access);
    answered(logout).await.expect(204);
    for path in [
        "/v1/me",
        "/v1/me/history",
        "/v1/me/export",
        "/v1/me/sessions",
    ] {
        api.get(path, &access).await.expect(401);
    }

    // The accounts die: nobody logs in, and who has a token goes on.
    let tokens = api.login("ada").await;
    parts.processes[0].signal(Signal::KILL);
    parts.processes[0].ended(SOON).await;
    api.try_login("ada", PASSWORD).await.problem(503);
    api.get("/v1/me", &tokens.access).await.expect(200);
    api.refresh(&tokens.refresh).await.expect(200);
    parts.processes[0] = start(PARTS[0], parts.home.path());
    parts.processes[0].ready().await;
    eventually("logins work again", Duration::from_secs(5), async || {
        (api.try_login("ada", PASSWORD).await.status == 200).then_some(())
    })
    .await;
    drop(parts.gateway);
}

#[tokio::test]
async fn what_parts_say_to_each_other_needs_the_secret() {
    let parts = Parts::start().await;
    let users = fs::read_to_string(parts.home.path().join("users.toml")).unwrap();
    let (_, rest) = users.split_once("accounts = { listen = \"").unwrap();
    let accounts = Api::plain(rest.split('"').next().unwrap().parse().unwrap());
    let path = "/internal/v1/authenticate";
    let body = json!({ "name": "ada", "password": PASSWORD });
    accounts.post(path, &body).await.expect(401);
    let wrong = accounts
        .request(Method::POST, path)
        .bearer_auth("hidden and long enougx");
    answered(wrong.json(&body)).await.expect(401);
    let right = accounts
        .request(Method::POST, path)
        .bearer_auth("hidden and long enough");
    let unknown = answered(right.json(&body)).await;
    assert_eq!(
        unknown.problem(401)["type"],
        "urn:tidegate:problem:wrong-credentials"
    );
    // What other parts answer is not here, nor is any of it in a process with all parts.
    accounts.get("/v1/me", "none").await.expect(405);
    accounts.get("/v1/me/history", "none").await.expect(404);
    parts.api.post(path, &body).await.expect(404);
}
