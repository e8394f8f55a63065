//! Names that are unique across all shards: user names, e-mail addresses.
//!
//! A row lives on its owner's shard, and a unique index there knows nothing of the other shards.
//! So a name has a row of its own, its *claim*, on the shard of the name's hash: the primary key
//! (kind, value) makes it unique. One write then touches several shards, and any step may be the
//! last before a crash:
//!
//! ```text
//!   1. claim     INSERT (kind, value, owner, attempt, pending)         the name's shard
//!   2. write     the owner's row and (attempt, done), one transaction  the owner's shard
//!   3. confirm   pending -> owned                                      the name's shard
//!   4. forget    the attempt's record                                  the owner's shard
//! ```
//!
//! Step 2 is the decision. Every write has an *attempt*, an id on the owner's shard, and the
//! attempt's record is either `done`, written with the owner's row, or `void`, written by
//! whoever takes the claim over; the primary key lets only one of them exist.
//!
//! | stopped after | what others find | what happens |
//! |---|---|---|
//! | 1 | pending, no record | until the lease ends the name is taken; then the next who wants it writes `void` and swaps the claim to itself |
//! | 1, but only slow | the same | its own step 2 meets `void` and fails: the row is never written |
//! | 2 | pending, `done` | the claim is confirmed to its owner by whoever comes first |
//! | 3 | owned | nothing is missing |
//!
//! So a lease that is too short costs a failed write, never a name with two owners. A name that
//! its owner gives up is listed for release in step 2 and deleted afterwards; the list survives a
//! crash, and [`Store::sweep_claims`] works it off.

mod attempt;
mod sweep;

use std::time::Duration;

use futures::future::BoxFuture;

use crate::{Bucket, Error, Freshness, Id, On, Position, Store, Time, Transaction, sql};
use attempt::{Abandoned, Attempt};

/// How long a claim may stay pending before others may take it over.
pub const LEASE: Duration = Duration::from_secs(30);

/// A kind of names and one of them.
pub type Name<'a> = (&'a str, &'a str);

/// What a write with claims came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claimed<T> {
    /// All names are the owner's and the write is committed. So far has a reader to be to see it.
    Won(T, Position),
    /// At least one of the names belongs to somebody else; nothing was written.
    Taken,
    /// Another write of the same owner has one of the names, or is about to have it; nothing was written. Whoever looks
    /// at the owner's row again may find that nothing is left to do.
    Own,
}

impl Store {
    /// Claims `names` for `owner`, gives up `released`, and runs `write` on the owner's shard,
    /// all or nothing whatever crashes. `write` must not commit.
    ///
    /// Names are claimed in the order given: use the same order of kinds everywhere.
    /// The future should not be dropped half-way: names claimed so far would stay taken for
    /// [`LEASE`].
    ///
    /// # Errors
    /// What `write` returned, or the store's own errors; nothing is claimed or written then.
    pub async fn claim_and_write<T, E, F>(
        &self,
        owner: Id,
        names: &[Name<'_>],
        released: &[Name<'_>],
        now: Time,
        write: F,
    ) -> Result<Claimed<T>, E>
    where
        F: for<'t> FnOnce(&'t mut Transaction) -> BoxFuture<'t, Result<T, E>>,
        E: From<Error>,
    {
        let mut attempt = Attempt::new(self, owner, now)?;
        for &name in names {
            match attempt.claim(name, now).await {
                Ok(true) => {}
                Ok(false) => {
                    let own = attempt.met_own;
                    attempt.abandon(now).await;
                    return Ok(if own { Claimed::Own } else { Claimed::Taken });
                }
                Err(error) => {
                    attempt.abandon(now).await;
                    return Err(error.into());
                }
            }
        }
        match attempt.write(released, now, write).await {
            Ok((written, position)) => {
                attempt.settle().await;
                Ok(Claimed::Won(written, position))
            }
            Err((error, written)) => match (attempt.abandon(now).await, written) {
                // The commit reported an error and yet took place.
                (Abandoned::WasCommitted, Some(written)) => {
                    Ok(Claimed::Won(written, Position::UNKNOWN))
                }
                _ => Err(error),
            },
        }
    }

    /// The owner of a name.
    ///
    /// # Errors
    /// [`Error::Busy`], [`Error::Database`].
    pub async fn owner_of(
        &self,
        name: Name<'_>,
        freshness: &Freshness,
    ) -> Result<Option<Id>, Error> {
        let row = self.claim_row(name, freshness).await?;
        if row.as_ref().is_none_or(|row| row.owned) {
            return Ok(row.map(|row| row.owner));
        }
        // Twice: between the two reads a claim may be confirmed and its attempt forgotten.
        for _ in 0..2 {
            let Some(row) = self.claim_row(name, &Freshness::Latest).await? else {
                return Ok(None);
            };
            if row.owned || self.attempt_state(row.attempt).await? == Some(DONE) {
                return Ok(Some(row.owner));
            }
        }
        Ok(None)
    }

    async fn claim_row(
        &self,
        (kind, value): Name<'_>,
        freshness: &Freshness,
    ) -> Result<Option<ClaimRow>, Error> {
        let select = "SELECT owner, attempt, state, claimed_at FROM claims
             WHERE kind = ? AND value = ? AND {fence}";
        let select = sql(select).bind(kind).bind(value);
        let mut connection = self.at(Bucket::of_key(kind, value)).read(freshness).await?;
        let row: Option<(Id, Id, i64, Time)> = select.optional(&mut connection).await?;
        Ok(row.map(|(owner, attempt, state, claimed_at)| ClaimRow {
            owner,
            attempt,
            owned: state == OWNED,
            claimed_at,
        }))
    }

    async fn attempt_state(&self, attempt: Id) -> Result<Option<i64>, Error> {
        let select = sql("SELECT state FROM claim_attempts WHERE attempt = ? AND {fence}");
        let select = select.bind(attempt);
        let mut connection = self.at(attempt).read(&Freshness::Latest).await?;
        let row: Option<(i64,)> = select.optional(&mut connection).await?;
        Ok(row.map(|(state,)| state))
    }

    /// Decides an attempt that may have been given up: `true` when its write is committed,
    /// `false` when it never will be.
    async fn decide(&self, attempt: Id, now: Time) -> Result<bool, Error> {
        let mut connection = self.at(attempt).write().await?;
        let voided = record(&mut connection, attempt, VOID, now).await?;
        drop(connection);
        Ok(!voided && self.attempt_state(attempt).await? == Some(DONE))
    }

    /// pending -> owned; nothing when it was confirmed before.
    async fn confirm(&self, (kind, value): Name<'_>, attempt: Id) -> Result<(), Error> {
        let update =
            "UPDATE claims SET state = ? WHERE kind = ? AND value = ? AND attempt = ? AND {fence}";
        sql(update)
            .bind(OWNED)
            .bind(kind)
            .bind(value)
            .bind(attempt)
            .run(&mut self.at(Bucket::of_key(kind, value)).write().await?)
            .await?;
        Ok(())
    }

    /// Deletes the claim that this attempt made, and no later one of the same name.
    async fn unclaim(&self, (kind, value): Name<'_>, attempt: Id) -> Result<(), Error> {
        sql("DELETE FROM claims WHERE kind = ? AND value = ? AND attempt = ? AND {fence}")
            .bind(kind)
            .bind(value)
            .bind(attempt)
            .run(&mut self.at(Bucket::of_key(kind, value)).write().await?)
            .await?;
        Ok(())
    }
}

/// Records an attempt's outcome, unless it has one.
async fn record(on: impl Into<On<'_>>, attempt: Id, state: i64, now: Time) -> Result<bool, Error> {
    let insert = "INSERT INTO claim_attempts (attempt, state, decided_at)
         SELECT ?, ?, ? FROM shard_fence WHERE {fence}";
    let insert = sql(insert).bind(attempt).bind(state).bind(now);
    inserted(insert.run(on).await)
}

/// Whether a row was inserted; `false` when its primary key was there.
fn inserted(outcome: Result<u64, Error>) -> Result<bool, Error> {
    match outcome {
        Ok(_) => Ok(true),
        Err(error) if error.is_duplicate() => Ok(false),
        Err(error) => Err(error),
    }
}

struct ClaimRow {
    owner: Id,
    attempt: Id,
    owned: bool,
    claimed_at: Time,
}

const PENDING: i64 = 0;
const OWNED: i64 = 1;
const VOID: i64 = 0;
const DONE: i64 = 1;

#[cfg(test)]
mod tests;
