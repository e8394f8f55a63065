//! The months that come are made, those that nobody wants any more are archived and dropped.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::month::Month;
use super::{TimeTable, archive};
use crate::database::Database;
use crate::sql::Statement;
use crate::turn::Turn;
use crate::{Error, Freshness, Shard, Store, Time, catalog};

impl Store {
    /// Makes the tables of the current month and of those ahead, on every shard: before the first row is inserted, and
    /// again long before the months are used up. One whose ids run ahead of the clock gets the months of its ids too. A shard that is
    /// not used yet gets its tables before it is.
    ///
    /// # Errors
    /// The first error of any shard; the others have their tables.
    pub async fn make_time_tables(&self, tables: &[TimeTable], now: Time) -> Result<(), Error> {
        // Before any is made: a shard that comes back meanwhile makes them by itself.
        self.time_tables().want(tables);
        let mut outcome = Ok(());
        let shards = self.shards().iter();
        for shard in shards.filter(|shard| shard.is_admitted()) {
            for table in tables {
                let made = make(shard.primary(), table, [now, self.time_of_ids(now)]).await;
                outcome = outcome.and(made);
            }
        }
        outcome
    }

    /// Makes the months that come, as [`Store::make_time_tables`], and drops those older than the kept ones; how many it
    /// has dropped. With a folder `archive`, a table is first written there as `TABLE.shardN.jsonl`, a line of JSON a
    /// row in the order of their ids, and dropped when that file is complete and on disk.
    ///
    /// One process does it at a time for a shard; the others leave it to that one. It may end at any moment, however: the
    /// next one goes on.
    ///
    /// # Errors
    /// The first error of any shard; the others are done. [`Error::File`] and [`Error::OtherArchive`] when a table cannot be archived: it
    /// stays.
    pub async fn keep_time_tables(
        &self,
        tables: &[TimeTable],
        now: Time,
        archive: Option<&Path>,
    ) -> Result<u64, Error> {
        let mut outcome = self.make_time_tables(tables, now).await.map(|()| 0);
        for shard in self.shards() {
            let dropped = self.drop_old(shard, tables, now, archive).await;
            outcome = match (outcome, dropped) {
                (Ok(sum), Ok(dropped)) => Ok(sum + dropped),
                (Err(first), _) => Err(first),
                (_, Err(first)) => Err(first),
            };
        }
        outcome
    }

    async fn drop_old(
        &self,
        shard: &Shard,
        tables: &[TimeTable],
        now: Time,
        archive: Option<&Path>,
    ) -> Result<u64, Error> {
        // Looked up before anybody is kept from it: mostly there is nothing to do.
        if old(shard, tables, now).await?.is_empty() {
            return Ok(0);
        }
        let Some(mut turn) = Turn::take(shard, self.dir()).await? else {
            return Ok(0);
        };
        let outcome = drop_in_turn(&mut turn, tables, now, archive).await;
        turn.end().await;
        outcome
    }
}

async fn drop_in_turn(
    turn: &mut Turn<'_>,
    tables: &[TimeTable],
    now: Time,
    archive: Option<&Path>,
) -> Result<u64, Error> {
    let mut dropped = 0;
    // Again: whoever had the turn before may have dropped some.
    for (table, month) in old(turn.shard(), tables, now).await? {
        let name = table.table(month);
        if let Some(dir) = archive {
            archive::write(turn, table, month, dir).await?;
        }
        turn.run(Statement::of(format!("DROP TABLE IF EXISTS {name}")))
            .await?;
        let shard = turn.shard().number();
        tracing::info!(shard, table = name, archived = archive.is_some(), "dropped");
        dropped += 1;
    }
    Ok(dropped)
}

/// The tables that are there and older than the kept months, the oldest first.
async fn old<'t>(
    shard: &Shard,
    tables: &'t [TimeTable],
    now: Time,
) -> Result<Vec<(&'t TimeTable, Month)>, Error> {
    let mut connection = shard.read(&Freshness::Latest).await?;
    let names: Vec<(String,)> = catalog::table_names(shard.primary())
        .all(&mut connection)
        .await?;
    let mut old = Vec::new();
    for table in tables {
        let oldest = Month::of(now).minus(table.kept.max(1));
        let months = names.iter().filter_map(|(name,)| table.month(name));
        let months: BTreeSet<Month> = months.filter(|&month| month < oldest).collect();
        old.extend(months.into_iter().map(|month| (table, month)));
    }
    Ok(old)
}

/// The time tables that shards have before they are used.
#[derive(Debug, Default)]
pub(crate) struct WantedTables(Mutex<Vec<TimeTable>>);

impl WantedTables {
    /// From now on these too.
    fn want(&self, tables: &[TimeTable]) {
        let mut wanted = self.all();
        for table in tables {
            if wanted.iter().all(|known| known.name != table.name) {
                wanted.push(*table);
            }
        }
    }

    /// Makes the months of these times and those ahead on a shard, and lets it be used.
    pub(crate) async fn make_and_admit(
        &self,
        shard: &Shard,
        times: [Time; 2],
    ) -> Result<(), Error> {
        let mut made = 0;
        loop {
            let next = {
                let wanted = self.all();
                let next = wanted.get(made).copied();
                if next.is_none() {
                    // Under the lock: whoever wants one more after this finds a shard that is used.
                    shard.admit();
                }
                next
            };
            let Some(table) = next else {
                return Ok(());
            };
            make(shard.primary(), &table, times).await?;
            made += 1;
        }
    }

    fn all(&self) -> MutexGuard<'_, Vec<TimeTable>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn make(primary: &Database, table: &TimeTable, times: [Time; 2]) -> Result<(), Error> {
    let names = catalog::table_names(primary);
    let names: Vec<(String,)> = names.all(&mut primary.acquire().await?).await?;
    let made: BTreeSet<Month> = names
        .iter()
        .filter_map(|(name,)| table.month(name))
        .collect();
    let wanted = times.into_iter().map(Month::of);
    let wanted =
        wanted.flat_map(|month| (0..=table.ahead.max(1)).map(move |ahead| month.plus(ahead)));
    let wanted: BTreeSet<Month> = wanted.collect();
    for &month in wanted.difference(&made) {
        let mut connection = primary.acquire_to_write().await?;
        table.create(month).run(&mut connection).await?;
    }
    Ok(())
}
