//! `tidegate store`.

use std::fs;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;
use tidegate_tests::api::Api;
use tidegate_tests::binary::run;
use tidegate_tests::eventually::eventually;
use tidegate_tests::gateway::address;
use tidegate_tests::process::Process;
use tidegate_tests::user_services::Servers;

const CONFIGURATION: &str = r#"listen = { address = "127.0.0.1:0" }
admin = { address = "127.0.0.1:0" }
hash = { memory = "8KiB", iterations = 1 }
data = { dir = "data" }
"#;

fn said(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test]
async fn a_seeded_store_serves_and_is_seeded_once() {
    let home = TempDir::new().unwrap();
    let file = |name: &str| home.path().join(name);
    fs::write(file("users.toml"), CONFIGURATION).unwrap();
    fs::write(file("password"), "correct horse battery\n").unwrap();
    let seed = ["store", "seed", "-c", "users.toml", "--users", "3000"];
    let more = ["--password", "password", "--sample", "ids"];
    let filled = run(home.path(), &[&seed[..], &more].concat());
    assert!(filled.status.success(), "{}", said(&filled.stderr));
    let again = run(home.path(), &seed);
    assert_eq!(again.status.code(), Some(1));
    assert!(said(&again.stderr).contains("there are users already"));

    let args = ["users".into(), "-c".into(), file("users.toml").into()];
    let mut service = Process::start(&args, &[]);
    let api = Api::plain(address(&service.ready().await, "http"));
    let tokens = api.login("user000002999").await;
    let ids = fs::read_to_string(file("ids")).unwrap();
    let ids: Vec<_> = ids.lines().collect();
    assert_eq!(ids.len(), 3000);
    for id in [ids[0], ids[1500], ids[2999]] {
        let path = format!("/v1/users/{id}");
        api.get(&path, &tokens.access).await.expect(200);
    }
    api.register("user000000007").await.expect(409);

    let status = run(home.path(), &["store", "status", "-c", "users.toml"]);
    let status = said(&status.stdout);
    assert!(status.starts_with("4 shards, 4096 buckets"), "{status}");
    for number in 0..4 {
        let shard = format!("\nshard {number}: buckets ");
        assert!(status.contains(&shard), "{status}");
    }
    let row = |name: &str| {
        let mut lines = status.lines();
        let line = lines.find(|line| line.split_whitespace().next() == Some(name));
        line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
    };
    assert_eq!(row("users"), Some(3000), "{status}");
    assert_eq!(row("claims"), Some(6000), "{status}");

    let more = CONFIGURATION.replace("dir = \"data\"", "dir = \"data\", shards = 5");
    fs::write(file("users.toml"), more).unwrap();
    let status = run(home.path(), &["store", "status", "-c", "users.toml"]);
    let status = said(&status.stdout);
    assert!(status.contains("set `data.shards` to 4"), "{status}");
}

#[tokio::test]
async fn a_store_that_is_served_is_not_seeded() {
    let home = TempDir::new().unwrap();
    let file = home.path().join("users.toml");
    fs::write(&file, CONFIGURATION).unwrap();
    let mut service = Process::start(&["users".into(), "-c".into(), file.into()], &[]);
    service.ready().await;
    let refused = run(
        home.path(),
        &["store", "seed", "-c", "users.toml", "--users", "10"],
    );
    assert_eq!(refused.status.code(), Some(1));
    let refused = said(&refused.stderr);
    assert!(
        refused.contains("the user services run on this data"),
        "{refused}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_are_not_well_are_shown_and_their_writes_are_unavailable() {
    let mut servers = Servers::start(&Path::new(env!("CARGO_TARGET_TMPDIR")).join("mariadb"));
    let service = servers.service("one", "").await;
    service.api.register("anna").await.expect(201);
    let status = || {
        let folder = service.file.parent().unwrap();
        let status = run(folder, &["store", "status", "-c", "one.toml"]);
        said(&status.stdout) + &said(&status.stderr)
    };
    let metric = async |wanted: f64| {
        for shard in 0..2 {
            let read_only = format!("tidegate_users_shard_read_only{{shard=\"{shard}\"}}");
            eventually("it is noticed", Duration::from_secs(10), async || {
                (service.admin.metric(&read_only).await == Some(wanted)).then_some(())
            })
            .await;
        }
    };

    servers.execute("SET GLOBAL read_only = ON");
    metric(1.0).await;
    let refused = service.api.register("berta").await;
    assert!(!refused.header("retry-after").is_empty());
    assert_eq!(
        refused.problem(503)["type"],
        "urn:tidegate:problem:unavailable"
    );
    let refused = status();
    assert!(
        refused.contains("/users is read-only, and so no primary"),
        "{refused}"
    );
    servers.execute("SET GLOBAL read_only = OFF");
    metric(0.0).await;
    service.api.register("berta").await.expect(201);

    servers.end_replica(0);
    let shown = status();
    let mut replicas = shown.lines().filter(|line| line.contains("  replica 0: "));
    let (dead, alive) = (replicas.next().unwrap(), replicas.next().unwrap());
    assert!(dead.contains("away: shard 0: 127.0.0.1:"), "{shown}");
    assert!(dead.contains("Connection refused"), "{shown}");
    assert!(alive.contains(" s behind"), "{shown}");
}

#[test]
fn a_store_that_is_not_there_is_named() {
    let home = TempDir::new().unwrap();
    let status = run(home.path(), &["store", "status", "-c", "none.toml"]);
    assert_eq!(status.status.code(), Some(1));
    assert!(said(&status.stderr).contains("none.toml"));
    let file = home.path().join("users.toml");
    fs::write(file, CONFIGURATION).unwrap();
    let status = run(home.path(), &["store", "status", "-c", "users.toml"]);
    assert_eq!(status.status.code(), Some(1));
    assert!(said(&status.stderr).contains("there is no data in"));
    assert!(!home.path().join("data").exists(), "and none is made");
}
