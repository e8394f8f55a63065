//! The opened store: all shards, and the way to them.

use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use futures::future::{join_all, try_join_all};
use sqlx::Row;

use crate::shard_map::Range;
use crate::sqlite::{self, Connection, WorkerNumber};
use crate::{Bucket, Error, Id, IdGenerator, Migration, Schema, Shard, ShardMap, Time, ledger};

/// How to open a store.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the shards' files are.
    pub dir: PathBuf,
    /// How many shards there are; fixed once data exists.
    pub shards: u16,
    /// Reading connections a shard, at least one.
    pub readers: u32,
    /// How long a caller waits for a connection.
    pub acquire_timeout: Duration,
    /// How long a statement waits for another process's lock.
    pub busy_timeout: Duration,
    /// What an acknowledged write survives.
    pub durability: Durability,
}

/// What an acknowledged write survives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// The end of the process, however it ends. A power loss may take the last moments.
    #[default]
    Process,
    /// A power loss too, at the price of one fsync a write.
    Power,
}

/// All shards of one data set.
#[derive(Debug)]
pub struct Store {
    map: ShardMap,
    shards: Vec<Shard>,
    ids: IdGenerator,
}

impl Store {
    /// Opens every shard, makes them if the data set is new, and brings the tables of the store
    /// and of `schema` up to date on all of them.
    ///
    /// # Errors
    /// When the data does not fit the options (another number of shards, a missing or foreign
    /// file, a newer schema) or the database fails. An existing data set is never changed then.
    pub async fn open(options: &Options, schema: &Schema, now: Time) -> Result<Self, Error> {
        let even = ShardMap::even(options.shards)?;
        sqlite::create_dir(&options.dir)?;
        let worker = WorkerNumber::take(&options.dir)?;
        let first = Shard::new(options, 0, true);
        ledger::apply(&first, &OWN_SCHEMA, now).await?;
        let stored = load_map(&first).await?;
        if let Some(map) = &stored {
            check_files(options, map)?;
        }
        let rest = (1..options.shards).map(|number| Shard::new(options, number, stored.is_none()));
        let shards: Vec<Shard> = std::iter::once(first).chain(rest).collect();
        let data_set = identify(options, &shards[0], rand_number(now), now).await?;
        for shard in &shards {
            ledger::apply(shard, &OWN_SCHEMA, now).await?;
            identify(options, shard, data_set, now).await?;
            ledger::apply(shard, schema, now).await?;
        }
        let map = match stored {
            Some(map) => map,
            // Last: whoever finds a map knows that every shard is complete.
            None => save_map(&shards[0], even).await?,
        };
        Ok(Self {
            map,
            shards,
            ids: IdGenerator::resuming(worker),
        })
    }

    /// The shard a row lives on.
    pub fn shard_of(&self, id: Id) -> &Shard {
        self.by_key(id.bucket())
    }

    /// The shard a bucket lives on.
    pub fn by_key(&self, bucket: Bucket) -> &Shard {
        &self.shards[usize::from(self.map.shard_of(bucket))]
    }

    /// All shards, in order.
    pub fn shards(&self) -> &[Shard] {
        &self.shards
    }

    /// Which shard holds which bucket.
    pub const fn map(&self) -> &ShardMap {
        &self.map
    }

    /// A new id in a bucket.
    pub fn new_id(&self, bucket: Bucket, now: Time) -> Id {
        self.ids.next(bucket, now)
    }

    /// Rows by id, with one call of `fetch` a shard, all shards at once. The answer has no
    /// particular order.
    ///
    /// # Errors
    /// The first error of any shard.
    pub async fn multi_get<T, E, F, Fut>(&self, ids: &[Id], fetch: F) -> Result<Vec<T>, E>
    where
        F: Fn(Connection, Vec<Id>) -> Fut,
        Fut: Future<Output = Result<Vec<T>, E>>,
        E: From<Error>,
    {
        let groups = self.map.group(ids).into_iter().map(|(number, group)| {
            let shard = &self.shards[usize::from(number)];
            let fetch = &fetch;
            async move { fetch(shard.read().await?, group).await }
        });
        Ok(try_join_all(groups).await?.into_iter().flatten().collect())
    }

    /// Reads one small page from every shard, all at once.
    ///
    /// # Errors
    /// The first shard that does not answer.
    pub async fn ping(&self) -> Result<(), Error> {
        let reads = self.shards.iter().map(|shard| async {
            let mut connection = shard.read().await?;
            sqlx::query("SELECT number FROM shard_identity")
                .fetch_one(&mut *connection)
                .await?;
            Ok(())
        });
        try_join_all(reads).await.map(|_| ())
    }

    /// Waits for connections in use, then closes everything.
    pub async fn close(&self) {
        join_all(self.shards.iter().map(Shard::close)).await;
    }
}

/// The stored map, if the data set is complete.
async fn load_map(shard: &Shard) -> Result<Option<ShardMap>, Error> {
    let rows = sqlx::query(
        "SELECT epoch, first_bucket, last_bucket, shard FROM shard_map
         WHERE epoch = (SELECT MAX(epoch) FROM shard_map) ORDER BY first_bucket",
    )
    .fetch_all(&mut *shard.read().await?)
    .await?;
    let Some(first) = rows.first() else {
        return Ok(None);
    };
    let epoch = first.try_get("epoch")?;
    let mut ranges = Vec::with_capacity(rows.len());
    for row in &rows {
        let number = |column| -> Result<u16, Error> {
            u16::try_from(row.try_get::<i64, _>(column)?).map_err(|_| Error::ShardMapDamaged(epoch))
        };
        ranges.push(Range {
            first: number("first_bucket")?,
            last: number("last_bucket")?,
            shard: number("shard")?,
        });
    }
    ShardMap::from_ranges(epoch, &ranges).map(Some)
}

/// Stores the first map, unless another process was faster: then that one counts.
async fn save_map(shard: &Shard, map: ShardMap) -> Result<ShardMap, Error> {
    let mut tx = shard.begin().await?;
    let stored: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM shard_map")
        .fetch_one(&mut *tx)
        .await?;
    if stored == 0 {
        for range in map.ranges() {
            sqlx::query("INSERT INTO shard_map (epoch, first_bucket, last_bucket, shard) VALUES (?, ?, ?, ?)")
                .bind(map.epoch())
                .bind(i64::from(range.first))
                .bind(i64::from(range.last))
                .bind(i64::from(range.shard))
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await?;
        return Ok(map);
    }
    drop(tx);
    match load_map(shard).await? {
        Some(stored) if stored.shards() == map.shards() => Ok(stored),
        Some(stored) => Err(Error::OtherShardCount {
            configured: map.shards(),
            created: stored.shards(),
        }),
        None => Err(Error::ShardMapDamaged(0)),
    }
}

/// Refuses data of another number of shards, and data with a shard lost: a file made anew in its
/// place would look like users who never registered.
fn check_files(options: &Options, map: &ShardMap) -> Result<(), Error> {
    if map.shards() != options.shards {
        return Err(Error::OtherShardCount {
            configured: options.shards,
            created: map.shards(),
        });
    }
    let mut numbers = 0..options.shards;
    match numbers.find(|&number| !sqlite::path(options, number).exists()) {
        Some(number) => Err(Error::ShardMissing {
            number,
            path: sqlite::path(options, number),
        }),
        None => Ok(()),
    }
}

/// Writes into a new shard which one it is; checks it on an old one. Returns the data set.
async fn identify(
    options: &Options,
    shard: &Shard,
    data_set: i64,
    now: Time,
) -> Result<i64, Error> {
    let mut tx = shard.begin().await?;
    let written: Option<(i64, i64)> = sqlx::query_as("SELECT data_set, number FROM shard_identity")
        .fetch_optional(&mut *tx)
        .await?;
    let own = i64::from(shard.number());
    match written {
        // Shard 0 names the data set; the others have to agree.
        Some((found, number)) if number == own && (own == 0 || found == data_set) => Ok(found),
        Some((found, number)) => Err(Error::ForeignShard {
            path: sqlite::path(options, shard.number()),
            found: u16::try_from(number).unwrap_or(u16::MAX),
            data_set: found,
        }),
        None => {
            sqlx::query(
                "INSERT INTO shard_identity (data_set, number, created_at) VALUES (?, ?, ?)",
            )
            .bind(data_set)
            .bind(own)
            .bind(now)
            .execute(&mut *tx)
            .await?;
            tx.commit().await?;
            Ok(data_set)
        }
    }
}

/// A number that tells data sets apart. Not a secret: the hasher's random keys will do.
fn rand_number(now: Time) -> i64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(now).cast_signed()
}

const OWN_SCHEMA: Schema = Schema {
    owner: "store",
    migrations: &[Migration {
        version: 1,
        name: "shard identity, shard map, claims",
        sql: include_str!("schema.sql"),
    }],
};

#[cfg(test)]
mod tests;
