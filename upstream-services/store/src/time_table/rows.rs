//! Rows: into the month that their id names, and a page of one owner's out of the newest months.

use std::collections::BTreeMap;
use std::time::Duration;

use super::month::Month;
use super::{TimeRow, TimeTable};
use crate::sql::{Row, Statement, sql};
use crate::{Error, Freshness, Id, Store, Time, Transaction};

/// Which rows of an owner are wanted.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    /// Those before this one; without it, from the newest on.
    pub before: Option<Id>,
    /// At most so many.
    pub limit: u16,
}

impl TimeTable {
    /// Inserts rows of owners of one shard, in a transaction of their [`Route`](crate::Route). Their months were made
    /// ahead: into a month without a table nothing is inserted, and that is an error.
    ///
    /// # Errors
    /// As [`Statement::run`].
    pub async fn insert(&self, tx: &mut Transaction, rows: &[TimeRow]) -> Result<(), Error> {
        let mut months: BTreeMap<Month, Vec<&TimeRow>> = BTreeMap::new();
        for row in rows {
            months
                .entry(Month::of(row.id.time()))
                .or_default()
                .push(row);
        }
        for (month, rows) in months {
            let mut rest = &*rows;
            while !rest.is_empty() {
                // Databases prepare and keep a statement for each length: let there be few.
                let (first, later) = rest.split_at(MOST.min(1 << rest.len().ilog2()));
                self.insert_all(month, first).run(&mut *tx).await?;
                rest = later;
            }
        }
        Ok(())
    }

    /// Deletes all rows of an owner, in a transaction of its [`Route`](crate::Route). A month whose table is not there (any more)
    /// has none.
    ///
    /// # Errors
    /// As [`Statement::run`].
    pub async fn delete(&self, tx: &mut Transaction, owner: Id, now: Time) -> Result<(), Error> {
        for month in self.months(owner, None, now) {
            let text = format!("DELETE FROM {} WHERE owner = ?", self.table(month));
            match Statement::of(text).bind(owner).run(&mut *tx).await {
                Err(error) if error.is_missing_table() => {}
                outcome => drop(outcome?),
            }
        }
        Ok(())
    }

    fn insert_all(&self, month: Month, rows: &[&TimeRow]) -> Statement {
        let marks = format!("(?, ?{})", ", ?".repeat(self.columns.len()));
        let text = format!(
            "INSERT INTO {} (id, owner{}) VALUES {}",
            self.table(month),
            self.list(),
            vec![marks; rows.len()].join(", "),
        );
        let insert = Statement::of(text);
        rows.iter().fold(insert, |insert, row| {
            let insert = insert.bind(row.id).bind(row.owner);
            row.values.iter().cloned().fold(insert, Statement::bind)
        })
    }

    /// The months that may hold rows of an owner, the newest first. Clocks differ, by less than a day.
    pub(super) fn months(
        &self,
        owner: Id,
        before: Option<Id>,
        now: Time,
    ) -> impl Iterator<Item = Month> {
        let newest = Month::of(now.plus(DAY));
        let newest = before.map_or(newest, |id| newest.min(Month::of(id.time())));
        let kept = Month::of(now).minus(self.kept);
        newest.back(kept.max(Month::of(owner.time().minus(DAY))))
    }
}

impl Store {
    /// A page of one owner's rows, the newest first: their `id`, and the declared columns in their order.
    ///
    /// Looks into one month after the other, back to the last that is kept, or the one in which the owner's id was made, and ends as soon as
    /// it has enough. A month whose table is not there (any more) is an empty one.
    ///
    /// # Errors
    /// As [`Route::read`](crate::Route::read) and [`Statement::all`].
    pub async fn newest<T: Row>(
        &self,
        table: &TimeTable,
        owner: Id,
        page: Page,
        now: Time,
        freshness: &Freshness,
    ) -> Result<Vec<T>, Error> {
        let mut connection = self.at(owner).read(freshness).await?;
        let limit = usize::from(page.limit);
        let mut found: Vec<T> = Vec::new();
        for month in table.months(owner, page.before, now) {
            if found.len() >= limit {
                break;
            }
            let text = format!(
                "SELECT id{} FROM {} WHERE owner = ? AND id < ? AND {{fence}} ORDER BY id DESC LIMIT ?",
                table.list(),
                table.table(month),
            );
            let select = Statement::of(text).bind(owner);
            let select = select.bind(page.before.map_or(i64::MAX, Id::as_i64));
            let select = select.bind((limit - found.len()) as i64);
            match select.all(&mut connection).await {
                Ok(rows) => found.extend(rows),
                Err(error) if error.is_missing_table() => {
                    // Perhaps it is missing because the owner has moved to another shard.
                    let fence = sql("SELECT id FROM shard_fence WHERE {fence}");
                    fence.all::<(i64,)>(&mut connection).await?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }
}

/// The most rows of one statement.
const MOST: usize = 128;
/// By less than this clocks differ.
const DAY: Duration = Duration::from_secs(86_400);
