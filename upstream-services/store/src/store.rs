//! The opened store: all shards, and the way to them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures::future::{join, join_all, try_join_all};
use tokio::task::JoinHandle;

use crate::lease::Lease;
use crate::shard_map::Range;
use crate::sql::sqlite::{self, WorkerNumber};
use crate::sql::{Row, Statement, sql};
use crate::{
    Bucket, Data, Error, Freshness, Id, IdGenerator, Migration, Options, Route, Schema, Shard,
    ShardMap, Time, ledger,
};

/// All shards of one data set.
#[derive(Debug)]
pub struct Store {
    data: Data,
    map: Arc<ArcSwap<ShardMap>>,
    shards: Arc<[Arc<Shard>]>,
    ids: Arc<IdGenerator>,
    /// Where shards in files are.
    dir: Option<PathBuf>,
    /// Where the worker number is lent.
    _lease: Option<Lease>,
    watch: JoinHandle<()>,
}

impl Store {
    /// Opens every shard, makes them if the data set is new, and brings the tables of the store
    /// and of `schema` up to date on all of them.
    ///
    /// # Errors
    /// When the data does not fit the options (another number of shards, a missing or foreign
    /// file, a newer schema) or the database fails. An existing data set is never changed then.
    pub async fn open(options: &Options, schema: &Schema, now: Time) -> Result<Self, Error> {
        let even = ShardMap::even(options.shards())?;
        let ids = match &options.data {
            Data::Files(files) => {
                sqlite::create_dir(&files.dir)?;
                WorkerNumber::take(&files.dir)?.generator()
            }
            Data::Servers(_) => IdGenerator::idle(),
        };
        let first = Shard::new(options, 0, true);
        first.refuse_read_only().await?;
        recognize(options, &first, None).await?;
        ledger::apply(&first, &OWN_SCHEMA, now).await?;
        let stored = load_map(&first).await?;
        if let Some(map) = &stored {
            check_shards(options, map)?;
        }
        let rest = 1..options.shards();
        let rest = rest.map(|number| Shard::new(options, number, stored.is_none()));
        let shards = std::iter::once(first).chain(rest).map(Arc::new);
        let shards: Arc<[Arc<Shard>]> = shards.collect();
        let data_set = identify(options, &shards[0], rand_number(now), now).await?;
        for shard in &*shards {
            shard.refuse_read_only().await?;
            recognize(options, shard, Some(data_set)).await?;
            ledger::apply(shard, &OWN_SCHEMA, now).await?;
            identify(options, shard, data_set, now).await?;
            shard.belongs_to(data_set);
            ledger::apply(shard, schema, now).await?;
        }
        let map = match stored {
            Some(map) => map,
            // Last: whoever finds a map knows that every shard is complete.
            None => save_map(&shards[0], even).await?,
        };
        let map = Arc::new(ArcSwap::from_pointee(map));
        let ids = Arc::new(ids);
        let lease = match &options.data {
            Data::Files(_) => None,
            Data::Servers(_) => {
                let lease = Lease::take(shards[0].clone(), ids.clone(), rand_number(now));
                Some(lease.await?)
            }
        };
        let watch = tokio::spawn(watch(map.clone(), shards.clone()));
        Ok(Self {
            data: options.data.clone(),
            map,
            shards,
            ids,
            dir: match &options.data {
                Data::Files(files) => Some(files.dir.clone()),
                Data::Servers(_) => None,
            },
            _lease: lease,
            watch,
        })
    }

    /// The way to a bucket, or to the row with an id.
    pub fn at(&self, key: impl Into<Bucket>) -> Route {
        let map = self.map.load();
        Route {
            shard: self.shards[usize::from(map.shard_of(key.into()))].clone(),
            epoch: map.epoch(),
        }
    }

    /// All shards, in order.
    pub fn shards(&self) -> &[Arc<Shard>] {
        &self.shards
    }

    /// Which shard holds which bucket.
    pub fn map(&self) -> Arc<ShardMap> {
        self.map.load_full()
    }

    /// Where the shards are.
    pub(crate) fn data(&self) -> &Data {
        &self.data
    }

    /// A new id in a bucket.
    ///
    /// # Errors
    /// [`Error::NoIds`] when this process has lost its worker number.
    pub fn new_id(&self, bucket: Bucket, now: Time) -> Result<Id, Error> {
        self.ids.next(bucket, now)
    }

    /// The time of the next id: the clock's, or a later one that ids have come to.
    pub(crate) fn time_of_ids(&self, now: Time) -> Time {
        self.ids.time(now)
    }

    /// Where the shards are, if they are files.
    pub(crate) fn dir(&self) -> Option<&Path> {
        self.dir.as_deref()
    }

    /// Whether another process has these files open. Of servers nobody knows.
    pub fn is_shared(&self) -> bool {
        let taken = |dir| WorkerNumber::taken(dir) > 1;
        self.dir().is_some_and(taken)
    }

    /// Rows by id, with one statement a shard, all shards at once. The answer has no particular order.
    ///
    /// `select` makes the statement for the ids of one shard.
    ///
    /// # Errors
    /// The first error of any shard.
    pub async fn multi_get<T: Row>(
        &self,
        ids: &[Id],
        freshness: &Freshness,
        select: impl Fn(Vec<Id>) -> Statement,
    ) -> Result<Vec<T>, Error> {
        let map = self.map.load_full();
        let groups = map.group(ids).into_iter().map(|(number, group)| {
            let route = Route {
                shard: self.shards[usize::from(number)].clone(),
                epoch: map.epoch(),
            };
            let select = select(group);
            async move { select.all(&mut route.read(freshness).await?).await }
        });
        Ok(try_join_all(groups).await?.into_iter().flatten().collect())
    }

    /// Reads one small page from every shard, all at once; those that did not answer, within a moment.
    pub async fn ping(&self) -> Vec<(u16, Error)> {
        let reads = self.shards.iter().map(async |shard| {
            let read = async {
                let number = sql("SELECT number FROM shard_identity");
                let mut connection = shard.read(&Freshness::Latest).await?;
                number.value::<i64>(&mut connection).await
            };
            // Who asks whether all is well asks for all shards, and does not wait for one.
            match tokio::time::timeout(PING, read).await {
                Ok(answer) => answer,
                Err(_) => Err(Error::Slow(shard.number())),
            }
        });
        let outcomes = join_all(reads).await;
        let outcomes = self.shards.iter().zip(outcomes);
        let failed = |(shard, outcome): (&Arc<Shard>, Result<i64, Error>)| {
            Some((shard.number(), outcome.err()?))
        };
        outcomes.filter_map(failed).collect()
    }

    /// Reads one value from every replica, all at once; those that did not answer within a moment, by shard and place.
    pub async fn ping_replicas(&self) -> Vec<(u16, usize, Error)> {
        let pings = self.shards.iter().map(|shard| shard.ping_replicas(PING));
        join_all(pings).await.into_iter().flatten().collect()
    }

    /// Waits for connections in use, then closes everything.
    pub async fn close(&self) {
        self.watch.abort();
        join_all(self.shards.iter().map(|shard| shard.close())).await;
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

/// Looks whether servers are what they should be and how far replicas are behind, and notices when the map has changed.
async fn watch(map: Arc<ArcSwap<ShardMap>>, shards: Arc<[Arc<Shard>]>) {
    let on_servers = shards.iter().filter(|shard| !shard.is_file());
    let servers = on_servers.map(|shard| shard.watch());
    let changes = async {
        loop {
            tokio::time::sleep(LOOK_FOR_MAP).await;
            match load_map(&shards[0]).await {
                Ok(Some(stored)) if stored.epoch() > map.load().epoch() => {
                    tracing::info!(epoch = stored.epoch(), "the shard map has changed");
                    map.store(Arc::new(stored));
                }
                Ok(_) => {}
                Err(error) => tracing::debug!(%error, "the shard map was not read"),
            }
        }
    };
    join(join_all(servers), changes).await;
}

/// How long a shard may take to answer whether it does.
const PING: Duration = Duration::from_millis(300);

/// Between two looks at the stored map.
const LOOK_FOR_MAP: Duration = Duration::from_secs(1);

/// The stored map, if the data set is complete.
async fn load_map(shard: &Shard) -> Result<Option<ShardMap>, Error> {
    let select = "SELECT epoch, first_bucket, last_bucket, shard FROM shard_map
         WHERE epoch = (SELECT MAX(epoch) FROM shard_map) ORDER BY first_bucket";
    let rows: Vec<(i64, i64, i64, i64)> = sql(select)
        .all(&mut shard.read(&Freshness::Latest).await?)
        .await?;
    let Some(&(epoch, ..)) = rows.first() else {
        return Ok(None);
    };
    let number = |value| u16::try_from(value).map_err(|_| Error::ShardMapDamaged(epoch));
    let mut ranges = Vec::with_capacity(rows.len());
    for (_, first, last, shard) in rows {
        ranges.push(Range {
            first: number(first)?,
            last: number(last)?,
            shard: number(shard)?,
        });
    }
    ShardMap::from_ranges(epoch, &ranges).map(Some)
}

/// Stores the first map, unless another process was faster: then that one counts.
async fn save_map(shard: &Shard, map: ShardMap) -> Result<ShardMap, Error> {
    let mut tx = shard.begin().await?;
    let stored: i64 = sql("SELECT COUNT(*) FROM shard_map").value(&mut tx).await?;
    if stored == 0 {
        for range in map.ranges() {
            let insert = "INSERT INTO shard_map (epoch, first_bucket, last_bucket, shard) VALUES (?, ?, ?, ?)";
            sql(insert)
                .bind(map.epoch())
                .bind(i64::from(range.first))
                .bind(i64::from(range.last))
                .bind(i64::from(range.shard))
                .run(&mut tx)
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
fn check_shards(options: &Options, map: &ShardMap) -> Result<(), Error> {
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

/// Where a shard is, for people.
fn place(options: &Options, number: u16) -> String {
    match &options.data {
        Data::Files(files) => sqlite::path(files, number).display().to_string(),
        Data::Servers(servers) => servers[usize::from(number)].primary.to_string(),
    }
}

/// Refuses another shard, and another data set's, before anything is changed there. What has no tables yet is new.
async fn recognize(options: &Options, shard: &Shard, data_set: Option<i64>) -> Result<(), Error> {
    let mut tx = shard.begin().await?;
    let select = sql("SELECT data_set, number FROM shard_identity");
    let written = if_there(select.optional(&mut tx).await)?;
    drop(tx);
    if let Some(written) = written {
        check_identity(options, shard, written, data_set)?;
    }
    // A data set of another size is another one; the first shard knows it.
    if shard.number() == 0
        && let Some(map) = if_there(load_map(shard).await)?
    {
        check_shards(options, &map)?;
    }
    Ok(())
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
    options: &Options,
    shard: &Shard,
    (found, number): (i64, i64),
    data_set: Option<i64>,
) -> Result<i64, Error> {
    let own = i64::from(shard.number());
    if number == own && (own == 0 || data_set.is_none_or(|data_set| found == data_set)) {
        return Ok(found);
    }
    Err(Error::ForeignShard {
        place: place(options, shard.number()),
        found: u16::try_from(number).unwrap_or(u16::MAX),
        data_set: found,
    })
}

/// Writes into a new shard which one it is; checks it on an old one. Returns the data set.
async fn identify(
    options: &Options,
    shard: &Shard,
    data_set: i64,
    now: Time,
) -> Result<i64, Error> {
    let mut tx = shard.begin().await?;
    let select = sql("SELECT data_set, number FROM shard_identity");
    let written: Option<(i64, i64)> = select.optional(&mut tx).await?;
    match written {
        Some(written) => check_identity(options, shard, written, Some(data_set)),
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
fn rand_number(now: Time) -> i64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(now).cast_signed()
}

const OWN_SCHEMA: Schema = Schema {
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

#[cfg(test)]
mod tests;
