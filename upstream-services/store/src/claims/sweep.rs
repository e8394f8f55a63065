//! Finishes what crashed writes left: claims to confirm or delete, names to release.

use super::{LEASE, PENDING, VOID};
use crate::{Error, Freshness, Id, Store, Time, sql};

impl Store {
    /// Works off everything that was left behind longer than [`LEASE`] ago, at most
    /// a batch of each shard, and returns how much that was. Nothing depends on it: who needs a
    /// name repairs its claim on the spot. It keeps the tables small.
    ///
    /// # Errors
    /// [`Error::Busy`], [`Error::Database`]; the rest waits for the next sweep.
    pub async fn sweep_claims(&self, now: Time) -> Result<u64, Error> {
        let mut done = self.release_due(None).await?;
        for shard in self.shards() {
            let select = "SELECT kind, value, attempt FROM claims
                 WHERE state = ? AND claimed_at < ? ORDER BY claimed_at LIMIT ?";
            let select = sql(select).bind(PENDING).bind(now.minus(LEASE)).bind(BATCH);
            let stale: Vec<(String, String, Id)> = select
                .all(&mut shard.read(&Freshness::Latest).await?)
                .await?;
            for (kind, value, attempt) in stale {
                if self.decide(attempt, now).await? {
                    self.confirm((&kind, &value), attempt).await?;
                } else {
                    self.unclaim((&kind, &value), attempt).await?;
                }
                done += 1;
            }
            // Long after its lease nobody is still about to commit.
            sql("DELETE FROM claim_attempts WHERE state = ? AND decided_at < ?")
                .bind(VOID)
                .bind(now.minus(LEASE * 2880))
                .run(&mut shard.write().await?)
                .await?;
        }
        Ok(done)
    }

    /// Deletes the claims that owners gave up, of one owner or of all, and returns how many.
    pub(super) async fn release_due(&self, owner: Option<Id>) -> Result<u64, Error> {
        let mut released = 0;
        let shards = match owner {
            Some(owner) => vec![self.at(owner).shard],
            None => self.shards().to_vec(),
        };
        for shard in shards {
            let select = "SELECT kind, value, attempt FROM claim_releases
                 WHERE owner = COALESCE(?, owner) LIMIT ?";
            let select = sql(select).bind(owner).bind(BATCH);
            let due: Vec<(String, String, Id)> = select
                .all(&mut shard.read(&Freshness::Latest).await?)
                .await?;
            for (kind, value, attempt) in due {
                self.unclaim((&kind, &value), attempt).await?;
                let delete =
                    "DELETE FROM claim_releases WHERE kind = ? AND value = ? AND attempt = ?";
                let delete = sql(delete).bind(kind).bind(value).bind(attempt);
                delete.run(&mut shard.write().await?).await?;
                released += 1;
            }
        }
        Ok(released)
    }

    /// Forgets an attempt whose claims are all confirmed.
    pub(super) async fn forget_attempt(&self, attempt: Id) -> Result<(), Error> {
        sql("DELETE FROM claim_attempts WHERE attempt = ? AND {fence}")
            .bind(attempt)
            .run(&mut self.at(attempt).write().await?)
            .await?;
        Ok(())
    }
}

/// How many rows a sweep takes from a shard at a time.
const BATCH: i64 = 1000;
