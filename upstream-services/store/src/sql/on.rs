//! What statements run on.

use std::sync::Arc;
use std::time::Duration;

use sqlx::mysql::MySqlConnection;
use sqlx::sqlite::SqliteConnection;

use super::Health;
use crate::Error;
use crate::error::is_silence;

/// A connection or a transaction, as a statement borrows it.
#[derive(Debug)]
pub struct On<'c> {
    pub(super) session: Session<'c>,
    pub(super) terms: &'c Terms,
    /// By which epoch of the shard map the statement was sent here, when that is not known to be the newest.
    pub(super) epoch: Option<i64>,
    /// Set when a statement is given up.
    pub(super) late: &'c mut bool,
}

#[derive(Debug)]
pub(super) enum Session<'c> {
    Sqlite(&'c mut SqliteConnection),
    MySql(&'c mut MySqlConnection),
}

/// On what terms the statements of a database run.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    pub(crate) shard: u16,
    /// How long one may take.
    pub(crate) limit: Duration,
    pub(crate) health: Arc<Health>,
}

impl Terms {
    /// Waits for an outcome, but not too long, and notes whether the database answers.
    pub(super) async fn time<T>(
        &self,
        outcome: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, Error> {
        match tokio::time::timeout(self.limit, outcome).await {
            Ok(Ok(outcome)) => {
                self.health.answered();
                Ok(outcome)
            }
            Ok(Err(error)) => {
                match is_silence(&error) {
                    true => self.health.silent(),
                    false => self.health.answered(),
                }
                Err(error.into())
            }
            Err(_) => {
                self.health.silent();
                Err(Error::Slow(self.shard))
            }
        }
    }
}
