//! How the shards of a data set do, each looked at by itself: for who wants to know while some are away. No table is made
//! or changed; all that is written, on a primary that holds its shard, is the heartbeat and the day's sample of rows.

use std::sync::Arc;

use futures::future::join_all;

use crate::error::is_silence;
use crate::sql::{sql, sqlite};
use crate::store::PING;
use crate::{
    Data, Error, Freshness, Options, Schema, Shard, ShardMap, ShardStatus, Standing, TableRows,
    Time, ledger, opening, replica, row_guard, stored_map,
};

/// What was found.
#[derive(Debug)]
pub struct Survey {
    /// The map that shard 0 keeps; none when the data set was not completed.
    pub map: Result<Option<ShardMap>, Error>,
    /// The shards, in order.
    pub shards: Vec<Surveyed>,
}

/// One shard.
#[derive(Debug)]
pub struct Surveyed {
    /// How its servers do, as far as they were asked.
    pub status: ShardStatus,
    /// Why the services cannot do with the primary what they have to.
    pub primary: Result<(), Error>,
    /// The same of each replica: whether it answers.
    pub replicas: Vec<Result<(), Error>>,
    /// About how many rows each table has.
    pub rows: Result<Vec<TableRows>, Error>,
}

/// How often replicas are measured: what the primary writes for it takes a moment to come to them.
const MEASURES: u32 = 3;

impl Survey {
    /// Looks at all shards at once. One that does not answer costs as long as `options` have whoever asks wait, and no longer.
    pub async fn take(options: &Options, schema: &Schema, now: Time) -> Self {
        let shards = 0..options.shards();
        let shards: Vec<Shard> = shards.map(|of| Shard::new(options, of, false)).collect();
        let said = join_all(shards.iter().map(|shard| said(options, shard))).await;
        let mut known = (0..).zip(&said).filter_map(|(own, said)| match said {
            Ok((data_set, number)) if *number == own => Some(*data_set),
            _ => None,
        });
        // Shard 0 names it; without that one any other does.
        let data_set = known.next();
        let looks = shards.iter().zip(said).map(async |(shard, said)| {
            if let Some(data_set) = data_set {
                shard.belongs_to(data_set);
            }
            let primary = match said {
                Ok(said) => look(shard, said, data_set, schema).await,
                Err(error) => Err(error),
            };
            survey(shard, primary, now).await
        });
        let surveyed = join_all(looks).await;
        let map = map(options, &shards[0]).await;
        join_all(shards.iter().map(Shard::close)).await;
        Self {
            map,
            shards: surveyed,
        }
    }

    /// Whether all is as it should be, and could be shown.
    pub fn is_well(&self) -> bool {
        let well = |shard: &Surveyed| {
            shard.primary.is_ok() && shard.rows.is_ok() && shard.replicas.iter().all(Result::is_ok)
        };
        matches!(self.map, Ok(Some(_))) && self.shards.iter().all(well)
    }
}

/// What a primary says of itself: its data set and its number.
async fn said(options: &Options, shard: &Shard) -> Result<(i64, i64), Error> {
    if let Data::Files(files) = &options.data {
        let (number, path) = (shard.number(), sqlite::path(files, shard.number()));
        if !path.exists() {
            return Err(Error::ShardMissing { number, path });
        }
    }
    let select = sql("SELECT data_set, number FROM shard_identity");
    let said = select.optional(&mut shard.primary().acquire().await?).await;
    match said.and_then(|said| said.ok_or(sqlx::Error::RowNotFound.into())) {
        Err(Error::Database(error)) if !shard.is_file() && !is_silence(&error) => {
            Err(Error::WrongServer {
                shard: shard.number(),
                place: shard.primary().place().to_owned(),
                found: Arc::new(Standing::Unreadable(error.to_string())),
            })
        }
        said => said,
    }
}

/// Looks at a primary that answers, and lets it be read if it is the right one.
async fn look(
    shard: &Shard,
    (found, number): (i64, i64),
    data_set: Option<i64>,
    schema: &Schema,
) -> Result<(), Error> {
    if shard.is_file() && (Some(found), number) != (data_set, shard.number().into()) {
        return Err(Error::ForeignShard {
            place: shard.primary().place().to_owned(),
            found: u16::try_from(number).unwrap_or(u16::MAX),
            data_set: found,
        });
    }
    let looked = match shard.is_file() {
        true => Ok(()),
        false => shard.primary().look().await,
    };
    if !matches!(looked, Ok(()) | Err(Error::ReadOnly { .. })) {
        return looked;
    }
    ledger::check(shard.primary(), &opening::OWN_SCHEMA).await?;
    ledger::check(shard.primary(), schema).await?;
    shard.admit();
    looked
}

async fn survey(shard: &Shard, primary: Result<(), Error>, now: Time) -> Surveyed {
    for _ in 0..MEASURES {
        if shard.has_replicas() && shard.is_admitted() {
            let _ = shard.measure().await; // then how far they are behind is not known
            tokio::time::sleep(replica::BEAT).await;
        }
    }
    let mut replicas: Vec<Result<(), Error>> = Vec::new();
    replicas.resize_with(shard.status().replicas.len(), || Ok(()));
    for (_, place, error) in shard.ping_replicas(PING).await {
        replicas[place] = Err(error);
    }
    Surveyed {
        rows: row_guard::look(shard, now).await,
        status: shard.status(),
        primary,
        replicas,
    }
}

async fn map(options: &Options, first: &Shard) -> Result<Option<ShardMap>, Error> {
    let map = stored_map::load(&mut first.read(&Freshness::Latest).await?).await?;
    if let Some(map) = &map {
        opening::check_shards(options, map)?;
    }
    Ok(map)
}
