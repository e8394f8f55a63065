//! One write with claims, step by step. [`Store::claim_and_write`] takes the steps in order.

use futures::future::BoxFuture;

use super::{DONE, LEASE, Name, PENDING, inserted, record};
use crate::{Bucket, Error, Freshness, Id, Position, Store, Time, Transaction, sql};

/// A write with claims under way.
pub(super) struct Attempt<'s> {
    store: &'s Store,
    owner: Id,
    /// Names this attempt; lives on the owner's shard.
    token: Id,
    held: Vec<(String, String)>,
    released: Vec<(String, String, Id)>,
    commit_tried: bool,
    /// A name was refused because of another write of the same owner.
    pub(super) met_own: bool,
}

/// How giving up ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Abandoned {
    /// Nothing was written and nothing stays claimed.
    Undone,
    /// The write turned out to be committed; the claims are confirmed.
    WasCommitted,
}

impl<'s> Attempt<'s> {
    pub(super) fn new(store: &'s Store, owner: Id, now: Time) -> Result<Self, Error> {
        Ok(Self {
            store,
            owner,
            token: store.new_id(owner.bucket(), now)?,
            held: Vec::new(),
            released: Vec::new(),
            commit_tried: false,
            met_own: false,
        })
    }

    /// Step 1: claims a name. `false` when it belongs to somebody else, or another write of this owner has it.
    pub(super) async fn claim(&mut self, name: Name<'_>, now: Time) -> Result<bool, Error> {
        // Each turn but the last ends with a change somebody else made in between.
        for _ in 0..TURNS {
            if self.insert(name, now).await? {
                self.held.push((name.0.to_owned(), name.1.to_owned()));
                return Ok(true);
            }
            let Some(row) = self.store.claim_row(name, &Freshness::Latest).await? else {
                continue;
            };
            if row.owned {
                // Given up by this very owner, but not yet deleted?
                if row.owner == self.owner && self.store.release_due(self.owner).await? > 0 {
                    continue;
                }
                self.met_own = row.owner == self.owner;
                return Ok(false);
            }
            if now.since(row.claimed_at) < LEASE {
                self.met_own = row.owner == self.owner;
                return Ok(false);
            }
            if self.store.decide(row.attempt, now).await? {
                self.store.confirm(name, row.attempt).await?;
            } else if self.take_over(name, row.attempt, now).await? {
                self.held.push((name.0.to_owned(), name.1.to_owned()));
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Step 2: the decision, with the caller's write. On an error the second part is what the
    /// write returned, if the commit was what failed.
    pub(super) async fn write<T, E, F>(
        &mut self,
        released: &[Name<'_>],
        now: Time,
        write: F,
    ) -> Result<(T, Position), (E, Option<T>)>
    where
        F: for<'t> FnOnce(&'t mut Transaction) -> BoxFuture<'t, Result<T, E>>,
        E: From<Error>,
    {
        let own = |error: Error| (E::from(error), None);
        self.find_released(released).await.map_err(own)?;
        let route = self.store.at(self.owner);
        let mut tx = route.begin().await.map_err(own)?;
        self.decide_done(&mut tx, now).await.map_err(own)?;
        let written = write(&mut tx).await.map_err(|error| (error, None))?;
        self.commit_tried = true;
        match route.commit(tx).await {
            Ok(position) => Ok((written, position)),
            Err(error) => Err((error.into(), Some(written))),
        }
    }

    /// Steps 3 and 4. The write is committed: a failure here is repaired by whoever comes next.
    pub(super) async fn settle(self) {
        if let Err(error) = self.try_settle().await {
            tracing::warn!(owner = %self.owner, %error, "claims will be confirmed later");
        }
    }

    /// Gives up: what was claimed is free again.
    pub(super) async fn abandon(self, now: Time) -> Abandoned {
        match self.try_abandon(now).await {
            Ok(outcome) => outcome,
            Err(error) => {
                tracing::warn!(owner = %self.owner, %error, "claims stay until their lease ends");
                Abandoned::Undone
            }
        }
    }

    async fn insert(&self, (kind, value): Name<'_>, now: Time) -> Result<bool, Error> {
        let insert = "INSERT INTO claims (kind, value, owner, attempt, state, claimed_at)
                      SELECT ?, ?, ?, ?, ?, ? FROM shard_fence WHERE {fence}";
        let insert = sql(insert)
            .bind(kind)
            .bind(value)
            .bind(self.owner)
            .bind(self.token)
            .bind(PENDING)
            .bind(now);
        let route = self.store.at(Bucket::of_key(kind, value));
        inserted(insert.run(&mut route.write().await?).await)
    }

    /// Compare and swap: from the void attempt to this one.
    async fn take_over(&self, (kind, value): Name<'_>, void: Id, now: Time) -> Result<bool, Error> {
        let route = self.store.at(Bucket::of_key(kind, value));
        let swapped = sql("UPDATE claims SET owner = ?, attempt = ?, claimed_at = ?
             WHERE kind = ? AND value = ? AND attempt = ? AND state = ? AND {fence}")
        .bind(self.owner)
        .bind(self.token)
        .bind(now)
        .bind(kind)
        .bind(value)
        .bind(void)
        .bind(PENDING)
        .run(&mut route.write().await?)
        .await?;
        Ok(swapped == 1)
    }

    /// Which incarnations of the names to release are the owner's now.
    async fn find_released(&mut self, names: &[Name<'_>]) -> Result<(), Error> {
        for &(kind, value) in names {
            let row = self
                .store
                .claim_row((kind, value), &Freshness::Latest)
                .await?;
            if let Some(row) = row.filter(|row| row.owner == self.owner) {
                self.released
                    .push((kind.to_owned(), value.to_owned(), row.attempt));
            }
        }
        Ok(())
    }

    /// Writes the attempt's record and the list of releases into the owner's transaction.
    async fn decide_done(&self, tx: &mut Transaction, now: Time) -> Result<(), Error> {
        if !record(&mut *tx, self.token, DONE, now).await? {
            return Err(Error::ClaimLost);
        }
        for (kind, value, attempt) in &self.released {
            let insert =
                "INSERT INTO claim_releases (kind, value, owner, attempt) VALUES (?, ?, ?, ?)";
            let insert = sql(insert)
                .bind(&**kind)
                .bind(&**value)
                .bind(self.owner)
                .bind(*attempt);
            inserted(insert.run(&mut *tx).await)?;
        }
        Ok(())
    }

    async fn try_settle(&self) -> Result<(), Error> {
        for (kind, value) in &self.held {
            self.store.confirm((kind, value), self.token).await?;
        }
        self.store.forget_attempt(self.token).await?;
        if !self.released.is_empty() {
            self.store.release_due(self.owner).await?;
        }
        Ok(())
    }

    async fn try_abandon(&self, now: Time) -> Result<Abandoned, Error> {
        // Only a commit that was tried can have succeeded.
        if self.commit_tried && self.store.decide(self.token, now).await? {
            // As after any other commit: what fails now is repaired by whoever comes next.
            if let Err(error) = self.try_settle().await {
                tracing::warn!(owner = %self.owner, %error, "claims will be confirmed later");
            }
            return Ok(Abandoned::WasCommitted);
        }
        for (kind, value) in &self.held {
            self.store.unclaim((kind, value), self.token).await?;
        }
        Ok(Abandoned::Undone)
    }
}

/// How often a claim is looked at again. Two changes of hand within one call are rare.
const TURNS: u32 = 4;
