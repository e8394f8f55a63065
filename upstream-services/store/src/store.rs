//! The opened store: all shards, and the way to them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures::future::{join_all, try_join_all};
use tokio::task::JoinHandle;

use crate::lease::Lease;
use crate::sql::sqlite::{self, WorkerNumber};
use crate::sql::{Row, Statement, sql};
use crate::time_table::WantedTables;
use crate::watcher::Watcher;
use crate::{
    Bucket, Data, Error, Freshness, Id, IdGenerator, Options, Route, Schema, Shard, ShardMap, Time,
    opening,
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
    time_tables: Arc<WantedTables>,
    /// Where the worker number is lent.
    _lease: Option<Lease>,
    watch: JoinHandle<()>,
}

impl Store {
    /// Opens every shard, makes them if the data set is new, and brings the tables of the store
    /// and of `schema` up to date on all of them.
    ///
    /// Of an existing data set on servers, a shard other than 0 whose primary is away or read-only is left out: requests for it
    /// have [`Error::KeptOut`]. It is tried once a second, and used as soon as its tables are up to date.
    ///
    /// # Errors
    /// When the data does not fit the options (another number of shards, a missing or foreign
    /// file or server, a newer schema) or the database fails. No data is made where others were lost.
    pub async fn open(options: &Options, schema: &Schema, now: Time) -> Result<Self, Error> {
        let ids = match &options.data {
            Data::Files(files) => {
                ShardMap::even(files.shards)?;
                sqlite::create_dir(&files.dir)?;
                WorkerNumber::take(&files.dir)?.generator()
            }
            Data::Servers(_) => IdGenerator::idle(),
        };
        let (map, shards) = opening::open(options, schema, now).await?;
        let shards: Arc<[Arc<Shard>]> = shards.into_iter().map(Arc::new).collect();
        let map = Arc::new(ArcSwap::from_pointee(map));
        let ids = Arc::new(ids);
        let lease = match &options.data {
            Data::Files(_) => None,
            Data::Servers(_) => {
                let holder = opening::rand_number(now);
                let lease = Lease::take(shards[0].clone(), ids.clone(), holder);
                Some(lease.await?)
            }
        };
        let time_tables = Arc::<WantedTables>::default();
        let watch = Watcher {
            map: map.clone(),
            shards: shards.clone(),
            ids: ids.clone(),
            schema: *schema,
            time_tables: time_tables.clone(),
        };
        Ok(Self {
            data: options.data.clone(),
            map,
            shards,
            ids,
            dir: match &options.data {
                Data::Files(files) => Some(files.dir.clone()),
                Data::Servers(_) => None,
            },
            time_tables,
            _lease: lease,
            watch: tokio::spawn(watch.run()),
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

    /// The time tables that shards are to have before they are used.
    pub(crate) fn time_tables(&self) -> &WantedTables {
        &self.time_tables
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

/// How long a shard may take to answer whether it does.
pub(crate) const PING: Duration = Duration::from_millis(300);

#[cfg(test)]
mod tests;
