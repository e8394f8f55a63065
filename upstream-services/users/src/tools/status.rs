//! `tidegate store status`.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use store::{Error, ReplicaStatus, ShardStatus, Store, TableRows, Time};

use super::{StatusArgs, ToolError, open};
use crate::role;

/// How long the lag of replicas is measured: twice as long as that takes.
const MEASURE: Duration = Duration::from_millis(500);

/// Prints it.
pub(super) async fn print(args: &StatusArgs) -> Result<(), ToolError> {
    let config = role::service_of(&args.config)?;
    if config.data.options().is_new() {
        return Err(ToolError::NoData(config.data.dir));
    }
    let (config, store) = open(&args.config).await?;
    if config
        .data
        .shard
        .iter()
        .any(|shard| !shard.replicas.is_empty())
    {
        tokio::time::sleep(MEASURE).await;
    }
    let now = Time::now();
    let (primaries, replicas) = tokio::join!(store.ping(), store.ping_replicas());
    let failed: BTreeMap<_, _> = primaries.into_iter().collect();
    let replicas: BTreeMap<_, _> = replicas
        .into_iter()
        .map(|(shard, place, error)| ((shard, place), error))
        .collect();
    let map = store.map();
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "{} shards, {} buckets, shard map of epoch {}",
        store.shards().len(),
        store::BUCKETS,
        map.epoch()
    )?;
    for shard in store.shards() {
        let status = shard.status();
        let primary = match failed.get(&status.number) {
            Some(error @ Error::WrongServer { .. }) => error.to_string(),
            Some(error) => format!("away: {error}"),
            None if status.read_only => "answers, and is READ-ONLY: nothing is written".to_owned(),
            None => "answers".to_owned(),
        };
        let buckets = map.buckets_of(status.number).into_iter();
        let buckets: Vec<_> = buckets
            .map(|(first, last)| format!("{first}-{last}"))
            .collect();
        let (number, buckets) = (status.number, buckets.join(", "));
        writeln!(out, "shard {number}: buckets {buckets}; primary {primary}")?;
        write_replicas(&mut out, &status, &replicas)?;
    }
    write_rows(&mut out, &store, now).await?;
    store.close().await;
    Ok(())
}

fn write_replicas(
    out: &mut impl Write,
    status: &ShardStatus,
    failed: &BTreeMap<(u16, usize), Error>,
) -> std::io::Result<()> {
    for (number, replica) in status.replicas.iter().enumerate() {
        let said = match failed.get(&(status.number, number)) {
            Some(error @ Error::WrongServer { .. }) => error.to_string(),
            Some(error) => format!("away: {error}"),
            None => behind(replica),
        };
        writeln!(out, "  replica {number}: {said}")?;
    }
    Ok(())
}

fn behind(replica: &ReplicaStatus) -> String {
    match replica.lag {
        None => "answers; how far it is behind is not known".to_owned(),
        Some(lag) => format!("at most {:.1} s behind", lag.as_secs_f64()),
    }
}

/// Every table, with the rows of all shards and of the fullest.
async fn write_rows(out: &mut impl Write, store: &Store, now: Time) -> Result<(), ToolError> {
    let rows = store.rows(now).await?;
    let mut tables: BTreeMap<&str, Vec<&TableRows>> = BTreeMap::new();
    for table in &rows {
        tables.entry(&table.table).or_default().push(table);
    }
    writeln!(
        out,
        "\n{:<28} {:>14} {:>14} {:>12}  ten million rows in a shard",
        "table (estimates)", "rows", "fullest shard", "a day"
    )?;
    for (name, shards) in tables {
        let all: i64 = shards.iter().map(|table| table.rows).sum();
        let fullest = shards.iter().map(|table| table.rows).max().unwrap_or(0);
        let growth: Option<f64> = shards.iter().map(|table| table.per_day).sum();
        let growth = growth.map_or("?".to_owned(), |growth| format!("{growth:+.0}"));
        let full = shards.iter().filter_map(|table| table.full_at).min();
        let full = full.map_or(String::new(), |full| day(full, now));
        writeln!(
            out,
            "{name:<28} {all:>14} {fullest:>14} {growth:>12}  {full}"
        )?;
    }
    Ok(())
}

fn day(at: Time, now: Time) -> String {
    if at <= now {
        return "reached".to_owned();
    }
    let at = Timestamp::from_millisecond(at.as_millis());
    at.map_or_else(
        |_| "in the far future".to_owned(),
        |at| at.to_zoned(TimeZone::UTC).date().to_string(),
    )
}
