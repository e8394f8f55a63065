//! Finishes what crashed writes left: claims to confirm or delete, names to release.

use super::{LEASE, Name, PENDING, VOID};
use crate::{Error, Freshness, Id, Shard, Store, Time, sql};

impl Store {
    /// Works off everything that was left behind longer than [`LEASE`] ago, at most
    /// a batch of each shard, and returns how much that was. Nothing depends on it: who needs a
    /// name repairs its claim on the spot. It keeps the tables small.
    ///
    /// # Errors
    /// The first error of any shard: what has to do with that one waits for a later sweep, the rest is done.
    pub async fn sweep_claims(&self, now: Time) -> Result<u64, Error> {
        let mut swept = Swept::default();
        for shard in self.shards() {
            let released = self.release_due_on(shard, None, &mut swept.count).await;
            swept.all(released);
            let settled = self.settle_due_on(shard, now, &mut swept.count).await;
            swept.all(settled);
        }
        swept.end()
    }

    /// Decides the claims of a shard that are still pending though their lease has ended.
    async fn settle_due_on(&self, shard: &Shard, now: Time, count: &mut u64) -> Result<(), Error> {
        let select = "SELECT kind, value, attempt FROM claims
             WHERE state = ? AND claimed_at < ? ORDER BY claimed_at LIMIT ?";
        let select = sql(select).bind(PENDING).bind(now.minus(LEASE)).bind(BATCH);
        let stale: Vec<(String, String, Id)> = select
            .all(&mut shard.read(&Freshness::Latest).await?)
            .await?;
        let mut outcome = Ok(());
        for (kind, value, attempt) in stale {
            // Each by itself: its attempt may be on a shard that is away.
            match self.settle_left((&kind, &value), attempt, now).await {
                Ok(()) => *count += 1,
                Err(error) => outcome = outcome.and(Err(error)),
            }
        }
        // Long after its lease nobody is still about to commit.
        sql("DELETE FROM claim_attempts WHERE state = ? AND decided_at < ?")
            .bind(VOID)
            .bind(now.minus(LEASE * 2880))
            .run(&mut shard.write().await?)
            .await?;
        outcome
    }

    async fn settle_left(&self, name: Name<'_>, attempt: Id, now: Time) -> Result<(), Error> {
        match self.decide(attempt, now).await? {
            true => self.confirm(name, attempt).await,
            false => self.unclaim(name, attempt).await,
        }
    }

    /// Deletes the claims that an owner gave up, and returns how many.
    pub(super) async fn release_due(&self, owner: Id) -> Result<u64, Error> {
        let (shard, mut count) = (self.at(owner).shard, 0);
        let released = self.release_due_on(&shard, Some(owner), &mut count);
        released.await.map(|()| count)
    }

    /// Deletes the claims that owners on a shard gave up, of one owner or of all.
    async fn release_due_on(
        &self,
        shard: &Shard,
        owner: Option<Id>,
        count: &mut u64,
    ) -> Result<(), Error> {
        let select = "SELECT kind, value, attempt FROM claim_releases
             WHERE owner = COALESCE(?, owner) LIMIT ?";
        let select = sql(select).bind(owner).bind(BATCH);
        let due: Vec<(String, String, Id)> = select
            .all(&mut shard.read(&Freshness::Latest).await?)
            .await?;
        let mut outcome = Ok(());
        for (kind, value, attempt) in due {
            match self.release(shard, (&kind, &value), attempt).await {
                Ok(()) => *count += 1,
                Err(error) => outcome = outcome.and(Err(error)),
            }
        }
        outcome
    }

    async fn release(&self, shard: &Shard, name: Name<'_>, attempt: Id) -> Result<(), Error> {
        self.unclaim(name, attempt).await?;
        let (kind, value) = name;
        let delete = "DELETE FROM claim_releases WHERE kind = ? AND value = ? AND attempt = ?";
        let delete = sql(delete).bind(kind).bind(value).bind(attempt);
        delete.run(&mut shard.write().await?).await.map(drop)
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

/// What a sweep has done, and the first error.
#[derive(Default)]
struct Swept {
    count: u64,
    error: Option<Error>,
}

impl Swept {
    fn all(&mut self, outcome: Result<(), Error>) {
        self.error = self.error.take().or(outcome.err());
    }

    fn end(self) -> Result<u64, Error> {
        self.error.map_or(Ok(self.count), Err)
    }
}

/// How many rows a sweep takes from a shard at a time.
const BATCH: i64 = 1000;
