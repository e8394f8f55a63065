//! The row guard in files.

use tempfile::TempDir;

use super::*;
use crate::{Migration, Options, Schema};

const SCHEMA: Schema = Schema {
    owner: "test",
    migrations: &[Migration {
        version: 1,
        name: "things",
        sql: "CREATE TABLE things (id BIGINT NOT NULL PRIMARY KEY)",
    }],
};

async fn open(dir: &TempDir) -> Store {
    let options = Options {
        acquire_timeout: Duration::from_secs(30),
        ..Options::files(dir.path(), 2)
    };
    Store::open(&options, &SCHEMA, Time::now()).await.unwrap()
}

/// Adds things with ids from one number to another, on shard 1.
async fn add(store: &Store, from: i64, to: i64) {
    let insert = "INSERT INTO things (id)
         WITH RECURSIVE n (id) AS (SELECT ? UNION ALL SELECT id + 1 FROM n WHERE id + 1 < ?)
         SELECT id FROM n";
    let mut connection = store.shards()[1].write().await.unwrap();
    sql(insert)
        .bind(from)
        .bind(to)
        .run(&mut connection)
        .await
        .unwrap();
}

async fn things(store: &Store, now: Time) -> TableRows {
    let rows = store.rows(now).await.unwrap();
    let things = |table: &&TableRows| table.shard == 1 && table.table == "things";
    rows.iter().find(things).unwrap().clone()
}

async fn samples(store: &Store) -> i64 {
    let select = sql("SELECT COUNT(*) FROM row_samples WHERE name = 'things'");
    let mut connection = store.shards()[1].read(&Freshness::Latest).await.unwrap();
    select.value(&mut connection).await.unwrap()
}

#[tokio::test]
async fn growth_is_known_from_the_second_day_on() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir).await;
    let monday = Time::from_millis(1_800_000_000_000);
    add(&store, 0, 1000).await;
    let first = things(&store, monday).await;
    assert_eq!(
        (first.rows, first.per_day, first.full_at),
        (1000, None, None)
    );
    // One sample a day, however often it is looked at.
    add(&store, 1000, 1500).await;
    for minutes in 1..5 {
        let later = things(&store, monday.plus(DAY * minutes / 1440)).await;
        assert_eq!((later.rows, later.per_day), (1500, None));
    }
    assert_eq!(samples(&store).await, 1);

    add(&store, 1500, 3000).await;
    let second = things(&store, monday.plus(DAY)).await;
    assert_eq!((second.rows, second.per_day), (3000, Some(2000.0)));
    let days = second.full_at.unwrap().since(monday.plus(DAY)).as_secs() / 86_400;
    assert_eq!(days, (10_000_000 - 3000) / 2000);
    assert_eq!(samples(&store).await, 2);
    assert!(!second.is_due(monday.plus(DAY)));
    assert!(second.is_due(monday.plus(DAY * (days as u32 - 80))));

    // Long after, the old samples are no longer needed.
    things(&store, monday.plus(DAY * 91)).await;
    assert_eq!(samples(&store).await, 2);
}

#[tokio::test]
async fn every_table_of_every_shard_is_looked_at_and_nothing_of_sqlites_own() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir).await;
    let mut connection = store.shards()[1].write().await.unwrap();
    sql("CREATE TABLE numbered (id INTEGER PRIMARY KEY AUTOINCREMENT)")
        .run(&mut connection)
        .await
        .unwrap();
    drop(connection);
    let rows = store.rows(Time::now()).await.unwrap();
    let of = |shard| {
        let tables = rows.iter().filter(move |table| table.shard == shard);
        tables.map(|table| &*table.table)
    };
    assert!(of(0).any(|table| table == "claims"));
    assert!(of(1).any(|table| table == "numbered"));
    assert_eq!(of(0).count() + 1, of(1).count());
    assert!(rows.iter().all(|table| !table.table.starts_with("sqlite")));
    let fence = rows.iter().find(|table| table.table == "shard_fence");
    assert_eq!(fence.unwrap().rows, 1);
}

#[test]
fn a_table_is_due_ninety_days_before_it_is_full() {
    let now = Time::from_millis(1_800_000_000_000);
    let table = |full_at| TableRows {
        shard: 0,
        table: "things".to_owned(),
        rows: 1,
        per_day: None,
        full_at,
    };
    assert!(!table(None).is_due(now));
    assert!(!table(Some(now.plus(DAY * 91))).is_due(now));
    assert!(table(Some(now.plus(DAY * 90))).is_due(now));
    assert!(table(Some(now)).is_due(now));
}
