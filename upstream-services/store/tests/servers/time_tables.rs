//! Time tables and the row guard on MariaDB.

use tidegate_store::{Column, IdGenerator, Kind, Page, TimeRow, TimeTable};

use super::*;

const VISITS: TimeTable = TimeTable {
    name: "visits",
    columns: &[
        Column::new("kind", Kind::Text(16)),
        Column::new("device", Kind::Id).optional(),
    ],
    kept: 2,
    ahead: 1,
};
type Visit = (Id, String, Option<Id>);
const KIND: &str = "log\u{ed}n \"x\"";
/// 2026-11-18.
const NOW: Time = Time::from_millis(1_795_000_000_000);
const DAY: Duration = Duration::from_secs(86_400);

/// Inserts so many visits of one owner, from a time on.
async fn visit(store: &Store, owner: Id, from: Time, count: u64) -> Vec<Id> {
    let generator = IdGenerator::new(1);
    let rows = (0..count).map(|second| TimeRow {
        id: generator
            .next(owner.bucket(), from.plus(Duration::from_secs(second)))
            .unwrap(),
        owner,
        values: vec![KIND.into(), (second == 0).then_some(owner).into()],
    });
    let rows: Vec<TimeRow> = rows.collect();
    let mut tx = store.at(owner).begin().await.unwrap();
    VISITS.insert(&mut tx, &rows).await.unwrap();
    tx.commit().await.unwrap();
    rows.iter().map(|row| row.id).collect()
}

/// June, and the months around now, on shard 1 of two; the owner of all rows, those of June, and the others, the newest first.
async fn fill(store: &Store) -> (Id, Vec<Id>, Vec<Id>) {
    let (june, october) = (NOW.minus(DAY * 160), NOW.minus(DAY * 30));
    for time in [june, october] {
        store.make_time_tables(&[VISITS], time).await.unwrap();
    }
    let owner = IdGenerator::new(0).next(Bucket::new(4000), june.minus(DAY * 60));
    let owner = owner.unwrap();
    let old = visit(store, owner, june, 1205).await;
    let mut new = visit(store, owner, october, 3).await;
    new.extend(visit(store, owner, NOW.minus(DAY), 3).await);
    new.reverse();
    (owner, old, new)
}

async fn read(store: &Store, owner: Id, page: Page, freshness: Freshness) -> Vec<Visit> {
    let rows = store.newest::<Visit>(&VISITS, owner, page, NOW, &freshness);
    rows.await.unwrap()
}

async fn keep(store: &Store, archive: &Path) -> u64 {
    let kept = store.keep_time_tables(&[VISITS], NOW, Some(archive));
    kept.await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_found_in_the_months_that_are_there() {
    let dir = TempDir::new().unwrap();
    let (_server, options) = start(&dir, 2);
    let store = open(&options).await;
    let (owner, _, new) = fill(&store).await;
    let all = Page {
        before: None,
        limit: 100,
    };
    // There is no September.
    let rows = read(&store, owner, all, Freshness::Latest).await;
    assert_eq!(rows.iter().map(|row| row.0).collect::<Vec<_>>(), new);
    assert_eq!(
        (&*rows[5].1, rows[5].2, rows[4].2),
        (KIND, Some(owner), None)
    );
    let rest = Page {
        before: Some(new[0]),
        limit: 4,
    };
    let rows = read(&store, owner, rest, Freshness::Bounded).await;
    assert_eq!(rows.iter().map(|row| row.0).collect::<Vec<_>>(), new[1..5]);
}

#[tokio::test(flavor = "multi_thread")]
async fn old_months_are_archived_and_dropped_by_one_process() {
    let dir = TempDir::new().unwrap();
    let (_server, options) = start(&dir, 2);
    let store = open(&options).await;
    let (owner, old, _) = fill(&store).await;
    let archive = dir.path().join("archive");
    // Another process has the turn.
    let mut other = store.shards()[1].write().await.unwrap();
    let lock = sql("SELECT GET_LOCK('tidegate.upkeep.shard_1', 0)");
    assert_eq!(lock.value::<i64>(&mut other).await.unwrap(), 1);
    assert_eq!(keep(&store, &archive).await, 2, "June and July of shard 0");
    let unlock = sql("SELECT RELEASE_LOCK('tidegate.upkeep.shard_1')");
    unlock.value::<i64>(&mut other).await.unwrap();
    drop(other);
    // What an earlier process has left: a row, and half of another.
    std::fs::create_dir_all(&archive).unwrap();
    let part = archive.join("visits_2026_06.shard1.jsonl.part");
    let written = format!("{{\"id\":\"{}\"}}\n{{\"id\":\"", old[0]);
    std::fs::write(part, written).unwrap();
    assert_eq!(keep(&store, &archive).await, 2);
    // The turn was given back.
    assert_eq!(keep(&open(&options).await, &archive).await, 0);
    let free = sql("SELECT IS_FREE_LOCK('tidegate.upkeep.shard_1')");
    let mut connection = store.shards()[1].write().await.unwrap();
    assert_eq!(free.value::<i64>(&mut connection).await.unwrap(), 1);

    let text = std::fs::read_to_string(archive.join("visits_2026_06.shard1.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    let lines: Vec<serde_json::Value> = lines.collect();
    let archived: Vec<&str> = lines
        .iter()
        .map(|line| line["id"].as_str().unwrap())
        .collect();
    assert_eq!(archived, old.iter().map(Id::to_string).collect::<Vec<_>>());
    let row = serde_json::json!({ "id": old[1], "owner": owner, "kind": KIND, "device": null });
    assert_eq!(lines[1], row);
    assert_eq!(std::fs::read_dir(&archive).unwrap().count(), 1);
    let tables = store.rows(NOW).await.unwrap();
    let visits = |name: &&str| name.starts_with("visits");
    let left = tables.iter().filter(|table| table.shard == 1);
    let left: Vec<&str> = left.map(|table| &*table.table).filter(visits).collect();
    assert_eq!(left, ["visits_2026_10", "visits_2026_11", "visits_2026_12"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rows_of_a_servers_tables_are_estimated() {
    let dir = TempDir::new().unwrap();
    let (_server, options) = start(&dir, 1);
    let store = open(&options).await;
    let fill = "INSERT INTO users (id, email) SELECT seq, 'a' FROM seq_1_to_20000";
    let mut connection = store.shards()[0].write().await.unwrap();
    sql(fill).run(&mut connection).await.unwrap();
    // The server counts anew by itself, some seconds later.
    let analyze = sql("ANALYZE TABLE users");
    let analyze = analyze.all::<(String, String, String, String)>(&mut connection);
    analyze.await.unwrap();
    drop(connection);
    for day in 0..2 {
        let rows = store.rows(Time::now().plus(DAY * day)).await.unwrap();
        let users = rows.iter().find(|table| table.table == "users").unwrap();
        assert!((10_000..30_000).contains(&users.rows), "{}", users.rows);
        assert_eq!(users.per_day, (day == 1).then_some(0.0));
    }
}
