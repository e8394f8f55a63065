//! What opening and re-opening data does.

use std::fs;
use std::path::Path;
use std::time::Duration;

use sqlx::{Connection, SqliteConnection};
use tempfile::TempDir;

use super::*;
use crate::Migration;

const SCHEMA: Schema = Schema {
    owner: "test",
    migrations: &[Migration {
        version: 1,
        name: "things",
        sql: "CREATE TABLE things (id BIGINT NOT NULL PRIMARY KEY, name TEXT NOT NULL);
              CREATE INDEX things_name ON things (name);",
    }],
};

fn options(dir: &TempDir, shards: u16) -> Options {
    Options {
        acquire_timeout: Duration::from_secs(5),
        ..Options::files(dir.path().join("data"), shards)
    }
}

async fn open(dir: &TempDir, shards: u16) -> Result<Store, Error> {
    Store::open(&options(dir, shards), &SCHEMA, Time::now()).await
}

async fn put(store: &Store, bucket: u16, name: &str) -> Id {
    let id = store.new_id(Bucket::new(bucket), Time::now()).unwrap();
    sql("INSERT INTO things (id, name) VALUES (?, ?)")
        .bind(id)
        .bind(name)
        .run(&mut store.at(id).shard().write().await.unwrap())
        .await
        .unwrap();
    id
}

async fn names(store: &Store, ids: &[Id]) -> Vec<(Id, String)> {
    let select =
        |ids: Vec<Id>| sql("SELECT id, name FROM things WHERE {fence} AND id IN ").list(ids);
    let found = store.multi_get(ids, &Freshness::Bounded, select);
    let mut found: Vec<(Id, String)> = found.await.unwrap();
    found.sort();
    found
}

#[tokio::test]
async fn rows_are_found_on_their_shards_after_a_restart() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir, 4).await.unwrap();
    let mut ids = Vec::new();
    for bucket in [0, 1023, 1024, 4095] {
        ids.push(put(&store, bucket, &format!("in {bucket}")).await);
    }
    let before = names(&store, &ids).await;
    assert_eq!(before.len(), 4);
    store.close().await;
    drop(store);

    let store = open(&dir, 4).await.unwrap();
    assert!(store.ping().await.is_empty());
    assert_eq!(names(&store, &ids).await, before);
    assert_eq!(store.map().epoch(), 1);
}

#[tokio::test]
async fn another_number_of_shards_is_refused_and_says_so() {
    let dir = TempDir::new().unwrap();
    open(&dir, 4).await.unwrap().close().await;
    for wrong in [2, 8] {
        let error = open(&dir, wrong).await.unwrap_err();
        assert!(error.to_string().contains("created with 4"), "{error}");
    }
    assert!(!dir.path().join("data/shard-0007.db").exists());
    open(&dir, 4).await.unwrap();
}

#[tokio::test]
async fn a_lost_or_swapped_shard_is_refused() {
    let dir = TempDir::new().unwrap();
    open(&dir, 3).await.unwrap().close().await;
    let file = |number| dir.path().join(format!("data/shard-000{number}.db"));

    fs::rename(file(1), dir.path().join("kept")).unwrap();
    let error = open(&dir, 3).await.unwrap_err();
    assert!(
        matches!(error, Error::ShardMissing { number: 1, .. }),
        "{error}"
    );

    fs::copy(file(2), file(1)).unwrap();
    let error = open(&dir, 3).await.unwrap_err();
    assert!(
        matches!(error, Error::ForeignShard { found: 2, .. }),
        "{error}"
    );

    fs::rename(dir.path().join("kept"), file(1)).unwrap();
    open(&dir, 3).await.unwrap();
}

/// How many of the store's own migrations a file has had.
async fn migrations(path: &Path) -> i64 {
    let mut file = SqliteConnection::connect(path.to_str().unwrap())
        .await
        .unwrap();
    let count = "SELECT COUNT(*) FROM schema_ledger WHERE owner = 'store'";
    let count = sqlx::query_scalar(count).fetch_one(&mut file).await;
    count.unwrap()
}

#[tokio::test]
async fn other_data_of_an_older_program_is_refused_as_it_is() {
    let (own, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    open(&own, 2).await.unwrap().close().await;
    let older = open(&other, 2).await.unwrap();
    for shard in older.shards() {
        let mut tx = shard.begin().await.unwrap();
        let forget = "DELETE FROM schema_ledger WHERE owner = 'store' AND version = 5";
        sql(forget).run(&mut tx).await.unwrap();
        sql("DROP TABLE changes_read").run(&mut tx).await.unwrap();
        tx.commit().await.unwrap();
    }
    older.close().await;
    // As another shard of ours, and as a data set of another size.
    let file = "data/shard-0001.db";
    fs::copy(other.path().join(file), own.path().join(file)).unwrap();
    let error = open(&own, 2).await.unwrap_err();
    assert!(
        matches!(error, Error::ForeignShard { found: 1, .. }),
        "{error}"
    );
    assert_eq!(migrations(&own.path().join(file)).await, 4);
    let error = open(&other, 3).await.unwrap_err();
    assert!(
        matches!(error, Error::OtherShardCount { created: 2, .. }),
        "{error}"
    );
    let first = other.path().join("data/shard-0000.db");
    assert_eq!(migrations(&first).await, 4);
    // Where it belongs it is brought up to date.
    open(&other, 2).await.unwrap();
    assert_eq!(migrations(&first).await, 5);
}

#[tokio::test]
async fn shards_of_two_data_sets_do_not_mix() {
    let (one, two) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    open(&one, 2).await.unwrap().close().await;
    open(&two, 2).await.unwrap().close().await;
    let file = "data/shard-0001.db";
    fs::copy(two.path().join(file), one.path().join(file)).unwrap();
    let error = open(&one, 2).await.unwrap_err();
    assert!(
        matches!(error, Error::ForeignShard { found: 1, .. }),
        "{error}"
    );
}

#[tokio::test]
async fn an_interrupted_creation_is_completed() {
    let dir = TempDir::new().unwrap();
    open(&dir, 3).await.unwrap().close().await;
    // As if the first start had been killed before the map was written.
    let half = Store::open(&options(&dir, 3), &SCHEMA, Time::now())
        .await
        .unwrap();
    sql("DELETE FROM shard_map")
        .run(&mut half.shards()[0].write().await.unwrap())
        .await
        .unwrap();
    half.close().await;
    fs::remove_file(dir.path().join("data/shard-0002.db")).unwrap();
    assert!(open(&dir, 3).await.unwrap().ping().await.is_empty());
}

#[tokio::test]
async fn migrations_run_once_and_must_not_change() {
    const ADDED: Migration = Migration {
        version: 2,
        name: "more",
        sql: "ALTER TABLE things ADD COLUMN size BIGINT NOT NULL DEFAULT 0",
    };
    const LONGER: Schema = Schema {
        owner: "test",
        migrations: &[SCHEMA.migrations[0], ADDED],
    };
    const EDITED: Schema = Schema {
        owner: "test",
        migrations: &[Migration {
            sql: "CREATE TABLE other (id BIGINT)",
            ..SCHEMA.migrations[0]
        }],
    };
    let dir = TempDir::new().unwrap();
    let store = open(&dir, 2).await.unwrap();
    let id = put(&store, 4095, "kept").await;
    store.close().await;
    let with = async |schema: &Schema| Store::open(&options(&dir, 2), schema, Time::now()).await;

    let error = with(&EDITED).await.unwrap_err();
    assert!(
        matches!(error, Error::EditedMigration { version: 1, .. }),
        "{error}"
    );
    for _ in 0..2 {
        let store = with(&LONGER).await.unwrap();
        assert_eq!(names(&store, &[id]).await[0].1, "kept");
        store.close().await;
    }
    let error = with(&SCHEMA).await.unwrap_err();
    assert!(
        matches!(error, Error::NewerSchema { version: 2, .. }),
        "{error}"
    );
}

#[tokio::test]
async fn a_busy_shard_is_an_error_in_time() {
    let dir = TempDir::new().unwrap();
    let options = Options {
        acquire_timeout: Duration::from_millis(50),
        ..options(&dir, 1)
    };
    let store = Store::open(&options, &SCHEMA, Time::now()).await.unwrap();
    let held = store.shards()[0].begin().await.unwrap();
    let error = store.shards()[0].write().await.unwrap_err();
    assert!(matches!(error, Error::Busy(0)), "{error}");
    assert!(store.ping().await.is_empty());
    drop(held);
    store.shards()[0].write().await.unwrap();
}

#[tokio::test]
async fn two_processes_on_one_data_set_make_different_ids() {
    let dir = TempDir::new().unwrap();
    let (one, two) = (open(&dir, 2).await.unwrap(), open(&dir, 2).await.unwrap());
    let now = Time::now();
    assert_ne!(
        one.new_id(Bucket::new(1), now).unwrap(),
        two.new_id(Bucket::new(1), now).unwrap()
    );
    let id = put(&one, 1, "seen by both").await;
    assert_eq!(names(&two, &[id]).await.len(), 1);
}

/// Shard 0 is the canary: what fails there changes no other, and what is mended goes on from there.
#[tokio::test]
async fn a_migration_that_fails_on_the_first_shard_reaches_no_other() {
    const BROKEN: Schema = Schema {
        owner: "test",
        migrations: &[
            SCHEMA.migrations[0],
            Migration {
                version: 2,
                name: "broken",
                sql: "CREATE TABLE more (id BIGINT NOT NULL PRIMARY KEY);
                      INSERT INTO nowhere VALUES (1)",
            },
        ],
    };
    const MENDED: Schema = Schema {
        owner: "test",
        migrations: &[
            SCHEMA.migrations[0],
            Migration {
                version: 2,
                name: "mended",
                sql: "CREATE TABLE more (id BIGINT NOT NULL PRIMARY KEY)",
            },
        ],
    };
    let dir = TempDir::new().unwrap();
    open(&dir, 3).await.unwrap().close().await;
    let with = async |schema: &Schema| Store::open(&options(&dir, 3), schema, Time::now()).await;
    with(&BROKEN).await.unwrap_err();
    let store = open(&dir, 3).await.unwrap();
    for shard in store.shards() {
        let count = "SELECT COUNT(*) FROM sqlite_master WHERE name = 'more'";
        let mut connection = shard.read(&Freshness::Latest).await.unwrap();
        let count: i64 = sql(count).value(&mut connection).await.unwrap();
        assert_eq!(count, 0, "shard {}", shard.number());
    }
    store.close().await;
    with(&MENDED).await.unwrap().close().await;
}

#[tokio::test]
async fn the_first_rows_of_all_shards_are_merged_in_order() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir, 4).await.unwrap();
    for bucket in 0..40 {
        put(&store, bucket * 100, &format!("{:02}", bucket * 7 % 40)).await;
    }
    let names = async |limit: usize| -> Vec<String> {
        let select = || {
            let select = sql("SELECT name FROM things WHERE {fence} ORDER BY name LIMIT ?");
            select.bind(limit as i64)
        };
        let key = |(name,): &(String,)| name.clone();
        let rows = store.scatter(limit, &Freshness::Bounded, select, key);
        let rows: Vec<(String,)> = rows.await.unwrap();
        rows.into_iter().map(|(name,)| name).collect()
    };
    for limit in [1, 7, 40, 100] {
        let all: Vec<_> = (0..40).map(|number| format!("{number:02}")).collect();
        assert_eq!(names(limit).await, all[..limit.min(40)]);
    }
}

/// Writes until the file has no room, within so many pages; the error.
async fn fill_up(store: &Store, pages: &'static str) -> Error {
    let shard = &store.shards()[0];
    sql(pages)
        .all::<(i64,)>(&mut shard.write().await.unwrap())
        .await
        .unwrap();
    let mut tx = shard.begin().await.unwrap();
    for _ in 0..1000 {
        let id = store.new_id(Bucket::new(0), Time::now()).unwrap();
        let insert = sql("INSERT INTO things (id, name) VALUES (?, ?)").bind(id);
        if let Err(full) = insert.bind("x".repeat(1000)).run(&mut tx).await {
            return full;
        }
    }
    panic!("a thousand rows have room");
}

/// Of a full disk SQLite ends the transaction by itself, which nobody tells who counts them.
#[tokio::test]
async fn a_file_that_was_full_takes_writes_again() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir, 1).await.unwrap();
    put(&store, 0, "before").await;
    let full = fill_up(&store, "PRAGMA max_page_count = 40").await;
    assert!(full.is_passing(), "{full}");
    // There is room again.
    let shard = &store.shards()[0];
    let room = sql("PRAGMA max_page_count = 1000000");
    room.all::<(i64,)>(&mut shard.write().await.unwrap())
        .await
        .unwrap();
    let write = async || {
        let mut tx = shard.begin().await?;
        let id = store.new_id(Bucket::new(0), Time::now())?;
        let insert = sql("INSERT INTO things (id, name) VALUES (?, 'after')").bind(id);
        insert.run(&mut tx).await?;
        tx.commit().await
    };
    for _ in 0..3 {
        write().await.unwrap();
    }
    let mut connection = shard.read(&Freshness::Latest).await.unwrap();
    let lost = sql("SELECT COUNT(*) FROM things WHERE name LIKE 'xx%'");
    assert_eq!(lost.value::<i64>(&mut connection).await.unwrap(), 0);
}

#[tokio::test]
async fn whoever_would_be_one_too_many_to_wait_is_refused_at_once() {
    let dir = TempDir::new().unwrap();
    let options = Options {
        waiters: 2,
        ..options(&dir, 1)
    };
    let store = Store::open(&options, &SCHEMA, Time::now()).await.unwrap();
    let shard = store.shards()[0].clone();
    let held = shard.begin().await.unwrap();
    let waiting = [0, 1].map(|_| {
        let shard = shard.clone();
        tokio::spawn(async move { shard.write().await.map(drop) })
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    let began = std::time::Instant::now();
    let refused = shard.write().await.unwrap_err();
    assert!(matches!(refused, Error::Crowded(0)), "{refused}");
    assert!(refused.is_passing());
    assert!(began.elapsed() < Duration::from_secs(1), "{began:?}");
    assert_eq!(shard.status().crowded, 1);
    shard.read(&Freshness::Latest).await.unwrap();
    drop(held);
    for waiting in waiting {
        waiting.await.unwrap().unwrap();
    }
    shard.write().await.unwrap();
}
