//! The shard map as shard 0 keeps it.

use crate::database::Database;
use crate::shard_map::Range;
use crate::sql::sql;
use crate::{Connection, Error, ShardMap};

/// The stored map, if the data set is complete.
pub(crate) async fn load(connection: &mut Connection) -> Result<Option<ShardMap>, Error> {
    let select = "SELECT epoch, first_bucket, last_bucket, shard FROM shard_map
         WHERE epoch = (SELECT MAX(epoch) FROM shard_map) ORDER BY first_bucket";
    let rows: Vec<(i64, i64, i64, i64)> = sql(select).all(connection).await?;
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
pub(crate) async fn save(first: &Database, map: ShardMap) -> Result<ShardMap, Error> {
    let mut tx = first.begin().await?;
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
    match load(&mut first.acquire().await?).await? {
        Some(stored) if stored.shards() == map.shards() => Ok(stored),
        Some(stored) => Err(Error::OtherShardCount {
            configured: map.shards(),
            created: stored.shards(),
        }),
        None => Err(Error::ShardMapDamaged(0)),
    }
}
