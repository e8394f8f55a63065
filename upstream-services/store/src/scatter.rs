//! Reads that concern every shard.

use futures::{StreamExt, TryStreamExt};

use crate::sql::{Row, Statement};
use crate::{Error, Freshness, Route, Store};

/// Shards that are asked at the same time.
const AT_ONCE: usize = 16;

impl Store {
    /// The first rows of all shards by `key`, `limit` of them. Each shard is asked for its own first ones, so
    /// `select` must order by the same and have the limit: it is read from every shard, and no more is kept than
    /// twice the limit.
    ///
    /// It takes as long as the slowest shard, and fails when one does: some rows are not all.
    ///
    /// # Errors
    /// The first error of any shard.
    pub async fn scatter<T: Row, K: Ord>(
        &self,
        limit: usize,
        freshness: &Freshness,
        select: impl Fn() -> Statement,
        key: impl Fn(&T) -> K,
    ) -> Result<Vec<T>, Error> {
        let epoch = self.map().epoch();
        let reads = self.shards().iter().map(|shard| {
            let (select, shard) = (select(), shard.clone());
            async move {
                let route = Route { shard, epoch };
                let mut rows: Vec<T> = select.all(&mut route.read(freshness).await?).await?;
                rows.truncate(limit);
                Ok::<_, Error>(rows)
            }
        });
        let reads = futures::stream::iter(reads).buffer_unordered(AT_ONCE);
        let merge = |mut first: Vec<T>, rows: Vec<T>| {
            first.extend(rows);
            first.sort_by_key(&key);
            first.truncate(limit);
            std::future::ready(Ok(first))
        };
        reads.try_fold(Vec::new(), merge).await
    }
}
