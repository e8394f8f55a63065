//! `tidegate store status`.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::ExitCode;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use store::{Error, ReplicaStatus, ShardMap, Survey, Surveyed, TableRows, Time};

use super::{StatusArgs, ToolError};
use crate::unreachable::why_unreachable;
use crate::{role, schema};

/// Prints it; the exit status says whether all is well.
pub(super) async fn print(args: &StatusArgs) -> Result<ExitCode, ToolError> {
    let config = role::service_of(&args.config)?;
    let options = config.data.options();
    if options.is_new() {
        return Err(ToolError::NoData(config.data.dir));
    }
    let now = Time::now();
    let survey = Survey::take(&options, &schema::SCHEMA, now).await;
    let mut out = std::io::stdout().lock();
    write!(
        out,
        "{} shards, {} buckets, ",
        survey.shards.len(),
        store::BUCKETS
    )?;
    let map = match &survey.map {
        Ok(Some(map)) => {
            writeln!(out, "shard map of epoch {}", map.epoch())?;
            Some(map)
        }
        Ok(None) => {
            writeln!(out, "no shard map yet")?;
            None
        }
        Err(error) => {
            writeln!(out, "shard map not known: {error}")?;
            None
        }
    };
    for shard in &survey.shards {
        write_shard(&mut out, shard, map)?;
    }
    write_rows(&mut out, &survey.shards, now)?;
    Ok(match survey.is_well() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

fn write_shard(
    out: &mut impl Write,
    shard: &Surveyed,
    map: Option<&ShardMap>,
) -> std::io::Result<()> {
    let number = shard.status.number;
    let buckets = map.map_or("?".to_owned(), |map| {
        let ranges = map.buckets_of(number).into_iter();
        let ranges = ranges.map(|(first, last)| format!("{first}-{last}"));
        ranges.collect::<Vec<_>>().join(", ")
    });
    let primary = match &shard.primary {
        Ok(()) => "answers".to_owned(),
        Err(error) => said(error),
    };
    writeln!(out, "shard {number}: buckets {buckets}; primary {primary}")?;
    let replicas = shard.replicas.iter().zip(&shard.status.replicas);
    for (number, (outcome, replica)) in replicas.enumerate() {
        let said = match outcome {
            Ok(()) => behind(replica),
            Err(error) => said(error),
        };
        writeln!(out, "  replica {number}: {said}")?;
    }
    Ok(())
}

fn said(error: &Error) -> String {
    match error {
        Error::Unreachable { place, .. } => format!("away: {error}: {}", why_unreachable(place)),
        _ if error.is_silence() => format!("away: {error}"),
        _ => error.to_string(),
    }
}

fn behind(replica: &ReplicaStatus) -> String {
    match replica.lag {
        None => "answers; how far it is behind is not known".to_owned(),
        Some(lag) => format!("at most {:.1} s behind", lag.as_secs_f64()),
    }
}

/// Every table, with the rows of all shards that have said theirs, and of the fullest.
fn write_rows(out: &mut impl Write, shards: &[Surveyed], now: Time) -> std::io::Result<()> {
    let mut tables: BTreeMap<&str, Vec<&TableRows>> = BTreeMap::new();
    for table in shards.iter().flat_map(|shard| shard.rows.iter().flatten()) {
        tables.entry(&table.table).or_default().push(table);
    }
    writeln!(
        out,
        "\n{:<28} {:>14} {:>14} {:>12}  ten million rows in a shard",
        "table (estimates)", "rows", "fullest shard", "a day"
    )?;
    for shard in shards {
        if let (Err(error), number) = (&shard.rows, shard.status.number) {
            let why = match shard.primary {
                Ok(()) => format!(": {error}"),
                Err(_) => String::new(), // is said above
            };
            writeln!(out, "without those of shard {number}{why}")?;
        }
    }
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
