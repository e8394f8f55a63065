//! No acknowledged write is lost when the process is killed.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tidegate_store::{
    BUCKETS, Bucket, Freshness, Id, Migration, Options, Schema, Store, Time, sql,
};

const DIR: &str = "TIDEGATE_TEST_KILL_DIR";

const SCHEMA: Schema = Schema {
    owner: "test",
    migrations: &[Migration {
        version: 1,
        name: "things",
        sql: "CREATE TABLE things (id BIGINT NOT NULL PRIMARY KEY)",
    }],
};

async fn open(dir: &Path) -> Store {
    let options = Options {
        acquire_timeout: Duration::from_secs(5),
        ..Options::files(dir, 2)
    };
    Store::open(&options, &SCHEMA, Time::now()).await.unwrap()
}

/// Not a test by itself: the process that is killed. Says every id once its commit returned.
#[tokio::test]
async fn writer() {
    let Some(dir) = std::env::var_os(DIR) else {
        return;
    };
    let store = open(Path::new(&dir)).await;
    for bucket in [0, BUCKETS - 1].into_iter().cycle() {
        // Every other write goes to the other shard.
        let id = store.new_id(Bucket::new(bucket), Time::now()).unwrap();
        let mut tx = store.at(id).begin().await.unwrap();
        let insert = sql("INSERT INTO things (id) VALUES (?)").bind(id);
        insert.run(&mut tx).await.unwrap();
        tx.commit().await.unwrap();
        println!("\nid {id}");
    }
}

#[tokio::test]
async fn acknowledged_writes_survive_a_kill() {
    let dir = TempDir::new().unwrap();
    for round in 1..=3 {
        let mut writer = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "writer", "--nocapture"])
            .env(DIR, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(writer.stdout.take().unwrap()).lines();
        let mut acknowledged: Vec<Id> = Vec::new();
        while acknowledged.len() < 100 * round {
            let line = lines.next().unwrap().unwrap();
            acknowledged.extend(line.strip_prefix("id ").map(|id| id.parse::<Id>().unwrap()));
        }
        writer.kill().unwrap();
        writer.wait().unwrap();

        let store = open(dir.path()).await;
        for id in acknowledged {
            let mut connection = store.at(id).shard().read(&Freshness::Latest).await.unwrap();
            let found = sql("SELECT id FROM things WHERE id = ?").bind(id);
            let found: Option<(Id,)> = found.optional(&mut connection).await.unwrap();
            assert_eq!(found, Some((id,)));
        }
        store.close().await;
    }
}
