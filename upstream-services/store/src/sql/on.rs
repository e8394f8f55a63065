//! What statements run on.

use std::time::Duration;

use sqlx::{MySqlConnection, SqliteConnection};

use crate::Error;

/// A connection or a transaction, as a statement borrows it.
#[derive(Debug)]
pub struct On<'c> {
    pub(super) session: Session<'c>,
    pub(super) within: Within,
}

#[derive(Debug)]
pub(super) enum Session<'c> {
    Sqlite(&'c mut SqliteConnection),
    MySql(&'c mut MySqlConnection),
}

/// How long a statement of a shard may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Within {
    pub(crate) shard: u16,
    pub(crate) limit: Duration,
}

impl Within {
    /// Waits for an outcome, but not too long.
    pub(super) async fn time<T>(
        self,
        outcome: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, Error> {
        match tokio::time::timeout(self.limit, outcome).await {
            Ok(outcome) => Ok(outcome?),
            Err(_) => Err(Error::Slow(self.shard)),
        }
    }
}
