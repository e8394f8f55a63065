//! The row guard: about how many rows each table has, and when it will have more than one table should.
//!
//! It reads estimates, not rows, and remembers one a day of each table beside it. A table that grows too large is
//! no emergency, if somebody knows a few months before: more shards, or a table a month.

mod forecast;

use std::collections::HashMap;
use std::time::Duration;

use crate::sql::sql;
use crate::{Error, Freshness, Shard, Store, Time, catalog};
use forecast::Sample;

/// What a table holds, and will.
#[derive(Clone, Debug, PartialEq)]
pub struct TableRows {
    /// The shard.
    pub shard: u16,
    /// The table.
    pub table: String,
    /// About how many rows it has.
    pub rows: i64,
    /// By how many it grows a day; unknown before the second day.
    pub per_day: Option<f64>,
    /// When it reaches ten million rows, or now if it has; none when it does not grow.
    pub full_at: Option<Time>,
}

impl TableRows {
    /// Whether somebody should do something: it reaches ten million rows within 90 days.
    pub fn is_due(&self, now: Time) -> bool {
        self.full_at.is_some_and(|full| full <= now.plus(DAY * 90))
    }
}

impl Store {
    /// About how many rows every table of every shard has, by shard and name. The first look of a day at a table, by whichever process, is remembered, and
    /// logged as a warning if the table [is due](TableRows::is_due).
    ///
    /// # Errors
    /// The first error of any shard; the others were looked at.
    pub async fn rows(&self, now: Time) -> Result<Vec<TableRows>, Error> {
        let mut all = Ok(Vec::new());
        for shard in self.shards() {
            all = match (all, look(shard, now).await) {
                (Ok(all), Ok(tables)) => Ok([all, tables].concat()),
                (Err(first), _) | (_, Err(first)) => Err(first),
            };
        }
        all
    }
}

/// Looks at the tables of one shard.
pub(crate) async fn look(shard: &Shard, now: Time) -> Result<Vec<TableRows>, Error> {
    let mut remembered = remembered(shard).await?;
    let mut found = Vec::new();
    let mut first_today = false;
    for (table, rows) in catalog::estimates(shard).await? {
        let samples = remembered.remove(&table).unwrap_or_default();
        let is_new = samples.last().is_none_or(|last| day(last.at) < day(now));
        let look = Sample { at: now, rows };
        let forecast = forecast::of(&samples, look);
        let rows = TableRows {
            shard: shard.number(),
            table,
            rows,
            per_day: forecast.per_day,
            full_at: forecast.full_at,
        };
        if is_new && remember(shard, &rows.table, look).await? {
            first_today = true;
            warn_if_due(&rows, now);
        }
        found.push(rows);
    }
    if first_today {
        let prune = sql("DELETE FROM row_samples WHERE day < ?").bind(day(now) - KEPT_DAYS);
        prune.run(&mut shard.write().await?).await?;
    }
    Ok(found)
}

/// The samples of each table, the oldest first.
async fn remembered(shard: &Shard) -> Result<HashMap<String, Vec<Sample>>, Error> {
    let select = sql("SELECT name, taken_at, estimate FROM row_samples ORDER BY name, day");
    let mut connection = shard.read(&Freshness::Latest).await?;
    let rows: Vec<(String, Time, i64)> = select.all(&mut connection).await?;
    let mut samples: HashMap<String, Vec<Sample>> = HashMap::new();
    for (name, at, rows) in rows {
        samples.entry(name).or_default().push(Sample { at, rows });
    }
    Ok(samples)
}

/// Remembers the day's sample; `false` when another process was faster, or it cannot be written now.
async fn remember(shard: &Shard, table: &str, sample: Sample) -> Result<bool, Error> {
    let insert = "INSERT INTO row_samples (name, day, taken_at, estimate) VALUES (?, ?, ?, ?)";
    let insert = sql(insert).bind(table).bind(day(sample.at));
    let insert = insert.bind(sample.at).bind(sample.rows);
    match insert.run(&mut shard.write().await?).await {
        Err(error) if error.is_duplicate() => Ok(false),
        // A primary that takes no writes can be looked at all the same.
        Err(error) if error.is_passing() => Ok(false),
        inserted => inserted.map(|_| true),
    }
}

fn warn_if_due(table: &TableRows, now: Time) {
    if table.is_due(now) {
        let days = table.full_at.map(|full| full.since(now).as_secs() / 86_400);
        tracing::warn!(
            shard = table.shard,
            table = table.table,
            rows = table.rows,
            per_day = table.per_day,
            days_left = days,
            "a table nears ten million rows, or has more: it wants more shards"
        );
    }
}

/// The day of UTC, counted from the Unix epoch.
const fn day(time: Time) -> i64 {
    time.as_secs().div_euclid(86_400)
}

const DAY: Duration = Duration::from_secs(86_400);
/// So long samples are remembered: some more than a forecast goes by.
const KEPT_DAYS: i64 = 90;

#[cfg(test)]
mod tests;
