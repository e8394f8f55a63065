//! The rows that wait to be written together.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use prometheus::IntCounter;
use store::{Id, Route, Store, TimeRow, TimeTable, Transaction, sql};

/// A bounded queue. What does not fit is dropped and counted: a login does not fail because its row is not written.
pub(super) struct Queue {
    rows: Mutex<Vec<TimeRow>>,
    dropped: IntCounter,
}

/// Between two turns of writing.
pub(super) const PERIOD: Duration = Duration::from_millis(100);
/// The most rows that wait.
pub(super) const CAPACITY: usize = 10_000;
/// Owners who are looked for by one statement.
const AT_ONCE: usize = 256;

impl Queue {
    pub(super) fn new(dropped: IntCounter) -> Self {
        Self {
            rows: Mutex::default(),
            dropped,
        }
    }

    /// Takes a row, if there is room for it.
    pub(super) fn push(&self, row: TimeRow) {
        let mut rows = self.rows();
        if rows.len() < CAPACITY {
            rows.push(row);
        } else {
            drop(rows);
            self.count_dropped(1);
        }
    }

    pub(super) fn count_dropped(&self, rows: usize) {
        self.dropped.inc_by(rows as u64);
    }

    /// Writes what waits, every shard by itself: one that is slow or gone keeps no other waiting for more than this turn. What it could
    /// not take now waits for the next.
    pub(super) async fn flush(&self, store: &Store, table: &TimeTable) {
        let rows = std::mem::take(&mut *self.rows());
        let mut shards: BTreeMap<u16, (Route, Vec<TimeRow>)> = BTreeMap::new();
        for row in rows {
            let route = store.at(row.owner);
            let shard = shards.entry(route.shard().number());
            shard.or_insert_with(|| (route, Vec::new())).1.push(row);
        }
        let writes = shards.into_values().map(async |(route, rows)| {
            if let Err(error) = write(&route, table, &rows).await {
                self.put_back(rows, &error);
            }
        });
        join_all(writes).await;
    }

    /// Writes everything, or gives it up.
    pub(super) async fn drain(&self, store: &Store, table: &TimeTable) {
        for _ in 0..LAST_TRIES {
            self.flush(store, table).await;
            if self.rows().is_empty() {
                return;
            }
            tokio::time::sleep(PERIOD).await;
        }
        let lost = std::mem::take(&mut *self.rows()).len();
        tracing::warn!(lost, "rows of the history could not be written");
        self.count_dropped(lost);
    }

    /// Lets rows wait for the next turn, before all that came since; as many as there is room for.
    fn put_back(&self, mut rows: Vec<TimeRow>, error: &store::Error) {
        if !error.is_passing() {
            tracing::error!(rows = rows.len(), %error, "rows of the history are lost");
            return self.count_dropped(rows.len());
        }
        tracing::debug!(rows = rows.len(), %error, "rows of the history will be written later");
        let mut waiting = self.rows();
        let over = (rows.len() + waiting.len()).saturating_sub(CAPACITY);
        rows.drain(..over);
        rows.append(&mut waiting);
        *waiting = rows;
        drop(waiting);
        self.count_dropped(over);
    }

    fn rows(&self) -> MutexGuard<'_, Vec<TimeRow>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes rows of one shard, all or none of them.
async fn write(route: &Route, table: &TimeTable, rows: &[TimeRow]) -> Result<(), store::Error> {
    match transact(route, table, rows).await {
        // A commit that reported an error took place: some of these were written before.
        Err(error) if error.is_duplicate() => {
            for row in rows {
                match transact(route, table, std::slice::from_ref(row)).await {
                    Err(error) if !error.is_duplicate() => return Err(error),
                    _ => {}
                }
            }
            Ok(())
        }
        outcome => outcome,
    }
}

async fn transact(route: &Route, table: &TimeTable, rows: &[TimeRow]) -> Result<(), store::Error> {
    let mut tx = route.begin().await?;
    let gone = gone(&mut tx, rows).await?;
    if gone.is_empty() {
        table.insert(&mut tx, rows).await?;
    } else {
        let rows = rows.iter().filter(|row| !gone.contains(&row.owner));
        let rows: Vec<TimeRow> = rows.cloned().collect();
        table.insert(&mut tx, &rows).await?;
    }
    tx.commit().await
}

/// The owners who were deleted since. The others are not before the transaction ends: what happened to a user is deleted
/// with the user, or not written.
async fn gone(tx: &mut Transaction, rows: &[TimeRow]) -> Result<BTreeSet<Id>, store::Error> {
    let mut gone: BTreeSet<Id> = rows.iter().map(|row| row.owner).collect();
    let owners: Vec<Id> = gone.iter().copied().collect();
    for some in owners.chunks(AT_ONCE) {
        // A write that changes nothing, in the order of the ids: two of them wait for each other one way only.
        let lock = sql("UPDATE users SET password_version = password_version WHERE id IN ");
        lock.list(some.iter().copied()).run(&mut *tx).await?;
        let found = sql("SELECT id FROM users WHERE id IN ").list(some.iter().copied());
        for (id,) in found.all::<(Id,)>(&mut *tx).await? {
            gone.remove(&id);
        }
    }
    Ok(gone)
}

#[cfg(test)]
impl Queue {
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.get()
    }
}

/// How often the rest is tried to be written when the process ends.
const LAST_TRIES: usize = 3;
