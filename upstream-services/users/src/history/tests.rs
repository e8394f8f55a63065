//! The queue: bounded, and patient with a shard that is busy.

use std::time::Duration;

use store::{Bucket, IdGenerator, Options, sql};
use tempfile::TempDir;

use super::queue::CAPACITY;
use super::*;
use crate::schema::SCHEMA;

async fn open(dir: &TempDir) -> History {
    let options = Options {
        acquire_timeout: Duration::from_millis(300),
        ..Options::files(dir.path(), 2)
    };
    let now = Time::now();
    let store = Arc::new(Store::open(&options, &SCHEMA, now).await.unwrap());
    let dropped = IntCounter::new("dropped", "dropped").unwrap();
    let config = HistoryConfig::default();
    History::open(store, &config, dropped, now).await.unwrap()
}

/// A user of one of the two shards.
async fn user(history: &History, shard: u16) -> Id {
    let time = Time::now().minus(Duration::from_secs(3600));
    let generator = IdGenerator::new(9);
    let user = generator.next(Bucket::new(shard * 4000), time).unwrap();
    let mut connection = history.store.at(user).write().await.unwrap();
    let insert = "INSERT INTO users
           (id, username, email, password_hash, version, created_at, updated_at)
         SELECT ?, 'anna', 'anna@example.org', '', 1, 0, 0 FROM shard_fence WHERE {fence}";
    let inserted = sql(insert).bind(user).run(&mut connection).await;
    assert_eq!(inserted.unwrap(), 1);
    user
}

fn login(user: Id) -> Event {
    Event {
        user,
        what: What::Login,
        session: None,
        client: Client::default(),
        at: Time::now(),
    }
}

async fn written(history: &History, user: Id) -> usize {
    let page = Page {
        before: None,
        limit: u16::MAX,
    };
    history
        .newest(user, page, Time::now(), &Freshness::Latest)
        .await
        .unwrap()
        .len()
}

impl History {
    async fn flush(&self) {
        self.queue.flush(&self.store, &self.table).await;
    }
}

#[tokio::test]
async fn what_does_not_fit_is_dropped_and_counted() {
    let dir = TempDir::new().unwrap();
    let history = open(&dir).await;
    let anna = user(&history, 0).await;
    for _ in 0..CAPACITY + 5 {
        history.note(login(anna));
    }
    assert_eq!(history.queue.dropped(), 5);
    history.flush().await;
    assert_eq!(written(&history, anna).await, CAPACITY);
    // There is room again.
    history.note(login(anna));
    history.flush().await;
    assert_eq!(written(&history, anna).await, CAPACITY + 1);
    assert_eq!(history.queue.dropped(), 5);
}

#[tokio::test]
async fn a_busy_shard_is_waited_for_and_the_others_are_not_kept() {
    let dir = TempDir::new().unwrap();
    let history = open(&dir).await;
    let (anna, bert) = (user(&history, 0).await, user(&history, 1).await);
    let held = history.store.shards()[0].begin().await.unwrap();
    for user in [anna, bert, anna] {
        history.note(login(user));
    }
    history.flush().await;
    assert_eq!(
        (written(&history, anna).await, written(&history, bert).await),
        (0, 1)
    );
    drop(held);
    history.note(login(anna));
    history.flush().await;
    assert_eq!(written(&history, anna).await, 3);
    assert_eq!(history.queue.dropped(), 0);
}

#[tokio::test]
async fn rows_that_were_written_after_all_are_not_written_twice() {
    let dir = TempDir::new().unwrap();
    let history = open(&dir).await;
    let anna = user(&history, 0).await;
    let row = || history.record(login(anna)).unwrap().row;
    let rows = [row(), row(), row()];
    history.queue.push(rows[1].clone());
    history.flush().await;
    rows.iter().cloned().for_each(|row| history.queue.push(row));
    history.flush().await;
    assert_eq!(written(&history, anna).await, 3);
    assert_eq!(history.queue.dropped(), 0);
}

#[tokio::test]
async fn what_the_database_refuses_is_given_up() {
    let dir = TempDir::new().unwrap();
    let history = open(&dir).await;
    let anna = user(&history, 0).await;
    let mut row = history.record(login(anna)).unwrap().row;
    row.values[0] = store::Value::Null;
    history.queue.push(row);
    history.flush().await;
    history.flush().await;
    assert_eq!(history.queue.dropped(), 1);
}

#[tokio::test]
async fn the_end_writes_what_it_can_and_counts_the_rest() {
    let dir = TempDir::new().unwrap();
    let history = open(&dir).await;
    let (anna, bert) = (user(&history, 0).await, user(&history, 1).await);
    history.note(login(anna));
    history.note(login(bert));
    let held = history.store.shards()[0].begin().await.unwrap();
    history.close();
    tokio::time::timeout(Duration::from_secs(20), history.write())
        .await
        .unwrap();
    drop(held);
    assert_eq!(
        (written(&history, anna).await, written(&history, bert).await),
        (0, 1)
    );
    assert_eq!(history.queue.dropped(), 1);
    let months =
        sql("SELECT COUNT(*) FROM sqlite_master WHERE type = 'table' AND name LIKE 'history%'");
    let mut connection = history.store.shards()[1].write().await.unwrap();
    let months: i64 = months.value(&mut connection).await.unwrap();
    assert_eq!(months, 3, "this month and two ahead");
}
