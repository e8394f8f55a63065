//! What a store looks after while it is open: servers that change or come back, and the map.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures::future::{join, join_all};

use crate::time_table::WantedTables;
use crate::{
    Error, Freshness, IdGenerator, Schema, Shard, ShardMap, Time, opening, replica, stored_map,
};

/// Between two looks at a primary that has no replicas, or is not used yet.
const PROBE: Duration = Duration::from_secs(1);

/// Between two looks at the stored map.
const LOOK_FOR_MAP: Duration = Duration::from_secs(1);

/// What it looks after.
pub(crate) struct Watcher {
    pub(crate) map: Arc<ArcSwap<ShardMap>>,
    pub(crate) shards: Arc<[Arc<Shard>]>,
    pub(crate) ids: Arc<IdGenerator>,
    pub(crate) schema: Schema,
    pub(crate) time_tables: Arc<WantedTables>,
}

impl Watcher {
    /// Looks after it for ever.
    pub(crate) async fn run(self) {
        let on_servers = self.shards.iter().filter(|shard| !shard.is_file());
        let servers = join_all(on_servers.map(|shard| self.watch_servers(shard)));
        join(servers, self.watch_map()).await;
    }

    /// Has a shard that is back used, and looks from then on whether its servers are what they should be and how far
    /// its replicas are behind.
    async fn watch_servers(&self, shard: &Shard) {
        while !shard.is_admitted() {
            tokio::time::sleep(PROBE).await;
            match self.admit(shard).await {
                Ok(()) => {
                    let (shard, server) = (shard.number(), shard.primary().place());
                    tracing::info!(shard, server, "the shard is back, and is used");
                }
                Err(error) => shard.keep_out(error),
            }
        }
        let pause = match shard.has_replicas() {
            true => replica::BEAT,
            false => PROBE,
        };
        shard.watch(pause).await;
    }

    /// Has a shard used, if it is the right one and can be brought up to date.
    async fn admit(&self, shard: &Shard) -> Result<(), Error> {
        let Some(data_set) = shard.data_set() else {
            return Err(Error::Down(shard.number()));
        };
        let now = Time::now();
        opening::reopen(shard, data_set, &self.schema, now).await?;
        let times = [now, self.ids.time(now)];
        self.time_tables.make_and_admit(shard, times).await
    }

    /// Notices when the map has changed.
    async fn watch_map(&self) {
        loop {
            tokio::time::sleep(LOOK_FOR_MAP).await;
            match self.stored_map().await {
                Ok(Some(stored)) if stored.epoch() > self.map.load().epoch() => {
                    tracing::info!(epoch = stored.epoch(), "the shard map has changed");
                    self.map.store(Arc::new(stored));
                }
                Ok(_) => {}
                Err(error) => tracing::debug!(%error, "the shard map was not read"),
            }
        }
    }

    async fn stored_map(&self) -> Result<Option<ShardMap>, Error> {
        stored_map::load(&mut self.shards[0].read(&Freshness::Latest).await?).await
    }
}
