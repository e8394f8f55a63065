//! Time tables in files.

mod archive;

use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::turn::Turn;
use crate::{Bucket, Error, Freshness, IdGenerator, Options, Schema, Store, Time, sql};

const VISITS: TimeTable = TimeTable {
    name: "visits",
    columns: &[
        Column::new("kind", Kind::Text(16)),
        Column::new("size", Kind::Integer),
        Column::new("device", Kind::Id).optional(),
    ],
    kept: 2,
    ahead: 2,
};
const SCHEMA: Schema = Schema {
    owner: "test",
    migrations: &[],
};
type Visit = (Id, String, i64, Option<Id>);

fn at(text: &str) -> Time {
    let time: jiff::Timestamp = format!("{text}T00:00:00Z").parse().unwrap();
    Time::from_millis(time.as_millisecond())
}

fn id(bucket: u16, time: Time) -> Id {
    let generator = IdGenerator::new(0);
    generator.next(Bucket::new(bucket), time).unwrap()
}

/// Somebody who has been there since the beginning.
fn owner(bucket: u16) -> Id {
    id(bucket, at("2025-06-01"))
}

async fn open(dir: &TempDir) -> Store {
    let options = Options {
        acquire_timeout: Duration::from_secs(30),
        ..Options::files(dir.path().join("data"), 2)
    };
    Store::open(&options, &SCHEMA, Time::now()).await.unwrap()
}

fn visit(owner: Id, time: Time) -> TimeRow {
    let id = id(owner.bucket().number(), time);
    let device = (id.as_i64() % 2 == 0).then_some(owner);
    TimeRow {
        id,
        owner,
        values: vec!["a \"b\"".into(), time.as_millis().into(), device.into()],
    }
}

async fn insert(store: &Store, rows: &[TimeRow]) -> Result<(), Error> {
    let mut tx = store.at(rows[0].owner).begin().await.unwrap();
    VISITS.insert(&mut tx, rows).await?;
    tx.commit().await
}

async fn ids(store: &Store, owner: Id, before: Option<Id>, limit: u16, now: Time) -> Vec<Id> {
    let page = Page { before, limit };
    let freshness = Freshness::Latest;
    let rows = store.newest::<Visit>(&VISITS, owner, page, now, &freshness);
    rows.await.unwrap().into_iter().map(|row| row.0).collect()
}

/// The months that have tables on a shard.
async fn months(store: &Store, shard: usize) -> Vec<String> {
    let select = "SELECT name FROM sqlite_master WHERE name LIKE 'visits%' ORDER BY name";
    let mut connection = store.shards()[shard]
        .read(&Freshness::Latest)
        .await
        .unwrap();
    let names: Vec<(String,)> = sql(select).all(&mut connection).await.unwrap();
    let month = |(name,): (String,)| name["visits_".len()..].to_owned();
    names.into_iter().map(month).collect()
}

#[tokio::test]
async fn the_newest_rows_come_first_across_months() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir).await;
    let now = at("2026-11-15");
    for month in ["2026-09-15", "2026-11-15"] {
        store.make_time_tables(&[VISITS], at(month)).await.unwrap();
    }
    let (anna, bert) = (owner(7), owner(8));
    let days = ["2026-09-01", "2026-09-30", "2026-10-31", "2026-11-01"];
    let mut visits = days.map(|day| visit(anna, at(day))).to_vec();
    visits.push(visit(bert, at("2026-11-02")));
    insert(&store, &visits).await.unwrap();
    let made: Vec<Id> = visits[..4].iter().rev().map(|row| row.id).collect();

    assert_eq!(ids(&store, anna, None, 100, now).await, made);
    assert_eq!(ids(&store, anna, None, 3, now).await, made[..3]);
    assert_eq!(ids(&store, anna, Some(made[1]), 100, now).await, made[2..]);
    assert_eq!(ids(&store, anna, Some(made[3]), 100, now).await, []);
    let page = Page {
        before: None,
        limit: 1,
    };
    let row = store.newest::<Visit>(&VISITS, anna, page, now, &Freshness::Latest);
    let (_, kind, size, _) = row.await.unwrap().remove(0);
    assert_eq!((&*kind, size), ("a \"b\"", at("2026-11-01").as_millis()));
    // In January September is no longer one of the kept months, whether it is still there or not.
    assert_eq!(
        ids(&store, anna, None, 100, at("2027-01-01")).await,
        made[..1]
    );
}

#[tokio::test]
async fn a_month_that_is_not_there_is_empty_and_takes_no_rows() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir).await;
    let now = at("2026-11-15");
    let anna = owner(7);
    assert_eq!(ids(&store, anna, None, 100, now).await, []);
    let missing = insert(&store, &[visit(anna, now)]).await.unwrap_err();
    assert!(missing.is_missing_table(), "{missing}");

    // It is no reason to overlook that somebody has moved.
    let fence = sql("UPDATE shard_fence SET epoch = 2");
    let mut connection = store.shards()[0].write().await.unwrap();
    fence.run(&mut connection).await.unwrap();
    let page = Page {
        before: None,
        limit: 1,
    };
    let stale = store.newest::<Visit>(&VISITS, anna, page, now, &Freshness::Latest);
    let stale = stale.await.unwrap_err();
    assert!(matches!(stale, Error::StaleMap { .. }), "{stale}");
}

#[test]
fn no_more_months_are_looked_into_than_can_hold_rows() {
    let months = |owner: Id, before: Option<Time>, now: &str| -> Vec<String> {
        let before = before.map(|time| id(7, time));
        let months = VISITS.months(owner, before, at(now));
        months.map(|month| month.to_string()).collect()
    };
    let all = ["2026_11", "2026_10", "2026_09"];
    assert_eq!(months(owner(7), None, "2026-11-15"), all);
    // A clock that is ahead may have made a row of the next month.
    assert_eq!(months(owner(7), None, "2026-11-30")[0], "2026_12");
    assert_eq!(
        months(owner(7), Some(at("2026-10-20")), "2026-11-15"),
        all[1..]
    );
    assert_eq!(months(owner(7), Some(at("2100-01-01")), "2026-11-15"), all);
    assert!(months(owner(7), Some(at("2025-01-02")), "2026-11-15").is_empty());
    let young = id(7, at("2026-11-03"));
    assert_eq!(months(young, None, "2026-11-15"), all[..1]);
}

#[tokio::test]
async fn months_are_made_ahead_on_every_shard() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir).await;
    for _ in 0..2 {
        store
            .make_time_tables(&[VISITS], at("2026-11-15"))
            .await
            .unwrap();
    }
    for shard in [0, 1] {
        assert_eq!(
            months(&store, shard).await,
            ["2026_11", "2026_12", "2027_01"]
        );
    }
    // Ids that have run ahead of the clock have their months too.
    store.new_id(Bucket::new(1), at("2028-05-05")).unwrap();
    store
        .make_time_tables(&[VISITS], at("2026-11-15"))
        .await
        .unwrap();
    assert_eq!(
        months(&store, 1).await[3..],
        ["2028_05", "2028_06", "2028_07"]
    );
}

#[tokio::test]
async fn months_nobody_wants_are_dropped_and_others_stay() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir).await;
    store
        .make_time_tables(&[VISITS], at("2026-06-15"))
        .await
        .unwrap();
    let alike = sql("CREATE TABLE visits_2026_06_old (id BIGINT)");
    let mut connection = store.shards()[0].write().await.unwrap();
    alike.run(&mut connection).await.unwrap();
    drop(connection);
    let anna = owner(7);
    insert(&store, &[visit(anna, at("2026-06-30"))])
        .await
        .unwrap();
    let keep = async |now| {
        store
            .keep_time_tables(&[VISITS], at(now), None)
            .await
            .unwrap()
    };
    assert_eq!(keep("2026-08-31").await, 0);
    assert_eq!(keep("2026-09-01").await, 2, "June of both shards");
    assert_eq!(keep("2026-09-01").await, 0);
    let left = [
        "2026_06_old",
        "2026_07",
        "2026_08",
        "2026_09",
        "2026_10",
        "2026_11",
    ];
    assert_eq!(months(&store, 0).await, left);
    assert_eq!(months(&store, 1).await, left[1..]);
}

#[tokio::test]
async fn another_process_that_is_at_it_is_left_to_it() {
    let dir = TempDir::new().unwrap();
    let (one, two) = (open(&dir).await, open(&dir).await);
    one.make_time_tables(&[VISITS], at("2026-06-15"))
        .await
        .unwrap();
    let turn = Turn::take(&one.shards()[0], one.dir()).await.unwrap();
    let keep = async || {
        two.keep_time_tables(&[VISITS], at("2026-12-01"), None)
            .await
            .unwrap()
    };
    assert_eq!(keep().await, 0);
    turn.unwrap().end().await;
    assert_eq!(keep().await, 6);
}
