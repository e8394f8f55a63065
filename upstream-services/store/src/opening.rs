//! Opening the shards: which one each is, its tables, and only then its use.
//!
//! ```text
//!   new data:       shard 0 -> every other shard -> the map
//!   existing data:  shard 0 -> the map -> every other shard by itself; one on a server that is away is left to the watch
//! ```
//!
//! Nothing is read from a shard or written to it before it has said that it is the right one and its tables are those of
//! the program.

use futures::StreamExt;

use crate::sql::sql;
use crate::sql::sqlite;
use crate::{Data, Error, Migration, Options, Schema, Shard, ShardMap, Time, ledger, stored_map};

/// Shards that are opened at the same time.
const AT_ONCE: usize = 16;

/// Opens the shards of a data set, or makes them. A shard may not be admitted yet: see [`reopen`].
pub(crate) async fn open(
    options: &Options,
    schema: &Schema,
    now: Time,
) -> Result<(ShardMap, Vec<Shard>), Error> {
    let even = ShardMap::even(options.shards())?;
    let first = Shard::new(options, 0, true);
    first.refuse_read_only().await?;
    recognize(&first, None).await?;
    // A data set of another size is another one.
    let stored = stored_map::load(&mut first.primary().acquire().await?).await;
    if let Some(map) = if_there(stored)? {
        check_shards(options, &map)?;
    }
    ledger::apply(first.primary(), &OWN_SCHEMA, now).await?;
    let stored = stored_map::load(&mut first.primary().acquire().await?).await?;
    if let Some(map) = &stored {
        check_shards(options, map)?;
    }
    let data_set = identify(&first, rand_number(now), now).await?;
    first.belongs_to(data_set);
    // Before all others: what fails here has changed none of them.
    ledger::apply(first.primary(), schema, now).await?;
    first.admit();
    let is_new = stored.is_none();
    let rest = (1..options.shards()).map(async |number| {
        let shard = Shard::new(options, number, is_new);
        if is_new {
            make(&shard, data_set, schema, now).await?;
            return Ok(shard);
        }
        shard.belongs_to(data_set);
        match reopen(&shard, data_set, schema, now).await {
            Ok(()) => shard.admit(),
            Err(error) if !shard.is_file() && error.is_away() => shard.keep_out(error),
            Err(error) => return Err(error),
        }
        Ok(shard)
    });
    let rest: Vec<_> = futures::stream::iter(rest)
        .buffered(AT_ONCE)
        .collect()
        .await;
    let shards = std::iter::once(Ok(first)).chain(rest);
    let shards: Vec<Shard> = shards.collect::<Result<_, _>>()?;
    let map = match stored {
        Some(map) => map,
        // Last: whoever finds a map knows that every shard is complete.
        None => stored_map::save(shards[0].primary(), even).await?,
    };
    Ok((map, shards))
}

/// Makes a shard of new data, or goes on where that was cut off.
async fn make(shard: &Shard, data_set: i64, schema: &Schema, now: Time) -> Result<(), Error> {
    shard.refuse_read_only().await?;
    recognize(shard, Some(data_set)).await?;
    ledger::apply(shard.primary(), &OWN_SCHEMA, now).await?;
    identify(shard, data_set, now).await?;
    shard.belongs_to(data_set);
    ledger::apply(shard.primary(), schema, now).await?;
    shard.admit();
    Ok(())
}

/// Looks whether a shard of existing data is the right one, and brings its tables up to date.
pub(crate) async fn reopen(
    shard: &Shard,
    data_set: i64,
    schema: &Schema,
    now: Time,
) -> Result<(), Error> {
    match shard.is_file() {
        true => {
            recognize(shard, Some(data_set)).await?;
            ledger::apply(shard.primary(), &OWN_SCHEMA, now).await?;
            identify(shard, data_set, now).await?;
        }
        false => {
            // First: an empty database in its place is not made a shard.
            shard.primary().look().await?;
            ledger::apply(shard.primary(), &OWN_SCHEMA, now).await?;
        }
    }
    ledger::apply(shard.primary(), schema, now).await
}

/// Refuses data of another number of shards, and data with a shard lost: a file made anew in its
/// place would look like users who never registered.
pub(crate) fn check_shards(options: &Options, map: &ShardMap) -> Result<(), Error> {
    if map.shards() != options.shards() {
        return Err(Error::OtherShardCount {
            configured: options.shards(),
            created: map.shards(),
        });
    }
    let Data::Files(files) = &options.data else {
        return Ok(());
    };
    let mut numbers = 0..files.shards;
    match numbers.find(|&number| !sqlite::path(files, number).exists()) {
        Some(number) => Err(Error::ShardMissing {
            number,
            path: sqlite::path(files, number),
        }),
        None => Ok(()),
    }
}

/// Refuses another shard, and another data set's, before anything is changed there. What has no tables yet is new.
async fn recognize(shard: &Shard, data_set: Option<i64>) -> Result<(), Error> {
    let mut tx = shard.primary().begin().await?;
    let select = sql("SELECT data_set, number FROM shard_identity");
    match if_there(select.optional(&mut tx).await)? {
        Some(written) => check_identity(shard, written, data_set).map(drop),
        None => Ok(()),
    }
}

/// What was found; nothing where there is no table yet.
fn if_there<T>(found: Result<Option<T>, Error>) -> Result<Option<T>, Error> {
    match found {
        Err(error) if error.is_missing_table() => Ok(None),
        found => found,
    }
}

/// The data set of a shard that says what it is. Shard 0 names it; the others have to agree.
fn check_identity(
    shard: &Shard,
    (found, number): (i64, i64),
    data_set: Option<i64>,
) -> Result<i64, Error> {
    let own = i64::from(shard.number());
    if number == own && (own == 0 || data_set.is_none_or(|data_set| found == data_set)) {
        return Ok(found);
    }
    Err(Error::ForeignShard {
        place: shard.primary().place().to_owned(),
        found: u16::try_from(number).unwrap_or(u16::MAX),
        data_set: found,
    })
}

/// Writes into a new shard which one it is; checks it on an old one. Returns the data set.
async fn identify(shard: &Shard, data_set: i64, now: Time) -> Result<i64, Error> {
    let mut tx = shard.primary().begin().await?;
    let select = sql("SELECT data_set, number FROM shard_identity");
    let written: Option<(i64, i64)> = select.optional(&mut tx).await?;
    match written {
        Some(written) => check_identity(shard, written, Some(data_set)),
        None => {
            sql("INSERT INTO shard_identity (data_set, number, created_at) VALUES (?, ?, ?)")
                .bind(data_set)
                .bind(i64::from(shard.number()))
                .bind(now)
                .run(&mut tx)
                .await?;
            tx.commit().await?;
            Ok(data_set)
        }
    }
}

/// A number that tells data sets apart. Not a secret: the hasher's random keys will do.
pub(crate) fn rand_number(now: Time) -> i64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(now).cast_signed()
}

/// The tables of the store itself.
pub(crate) const OWN_SCHEMA: Schema = Schema {
    owner: "store",
    migrations: &[
        Migration {
            version: 1,
            name: "shard identity, shard map, claims",
            sql: include_str!("schema.sql"),
        },
        Migration {
            version: 2,
            name: "worker numbers",
            sql: include_str!("workers.sql"),
        },
        Migration {
            version: 3,
            name: "fence, heartbeat",
            sql: include_str!("fence.sql"),
        },
        Migration {
            version: 4,
            name: "row samples",
            sql: include_str!("row_samples.sql"),
        },
        Migration {
            version: 5,
            name: "how far changes were read",
            sql: include_str!("changes.sql"),
        },
    ],
};
