//! One database: a server, or a file.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OnceCell;

use crate::error::is_silence;
use crate::sql::dialect::{self, Dialect};
use crate::sql::{Connection, Health, Pool, Terms, Transaction};
use crate::{Error, Options, Position};

/// One database, and how it does.
#[derive(Debug)]
pub(crate) struct Database {
    pool: Pool,
    acquire_timeout: Duration,
    terms: Terms,
    dialect: OnceCell<&'static dyn Dialect>,
}

impl Database {
    pub(crate) fn new(
        options: &Options,
        shard: u16,
        pool: impl FnOnce(Arc<Health>) -> Pool,
    ) -> Self {
        let health = Arc::new(Health::default());
        Self {
            pool: pool(health.clone()),
            acquire_timeout: options.acquire_timeout,
            terms: Terms {
                shard,
                limit: options.statement_timeout,
                health,
            },
            dialect: OnceCell::new(),
        }
    }

    pub(crate) fn health(&self) -> &Health {
        &self.terms.health
    }

    /// Whether it is a file, and not on a server.
    pub(crate) const fn is_file(&self) -> bool {
        matches!(self.pool, Pool::Sqlite(_))
    }

    /// A connection.
    ///
    /// # Errors
    /// [`Error::Down`] at once when it does not answer; [`Error::Busy`] when no connection becomes free in time.
    pub(crate) async fn acquire(&self) -> Result<Connection, Error> {
        self.in_time(self.pool.acquire(self.terms.clone())).await
    }

    /// A transaction that may write.
    ///
    /// # Errors
    /// As [`Database::acquire`].
    pub(crate) async fn begin(&self) -> Result<Transaction, Error> {
        let begun = self.in_time(self.pool.begin(self.terms.clone())).await;
        match begun {
            // The connection had died while nobody used it, and nothing was done on it.
            Err(Error::Database(error)) if is_silence(&error) => {
                self.in_time(self.pool.begin(self.terms.clone())).await
            }
            begun => begun,
        }
    }

    /// Commits; how far a reader has to be to see it. An error says that the commit failed, and nothing else.
    pub(crate) async fn commit(&self, transaction: Transaction) -> Result<Position, Error> {
        // A file is read where it was written.
        let Some(mut connection) = transaction.end().await? else {
            return Ok(Position::default());
        };
        let position = async {
            let dialect = self.dialect(&mut connection).await?;
            connection.position(dialect).await
        };
        Ok(position.await.unwrap_or(Position::UNKNOWN))
    }

    pub(crate) async fn dialect(
        &self,
        connection: &mut Connection,
    ) -> Result<&'static dyn Dialect, Error> {
        let dialect = self.dialect.get_or_try_init(|| dialect::of(connection));
        dialect.await.copied()
    }

    pub(crate) async fn close(&self) {
        self.pool.close().await;
    }

    /// The pool's own time-out does not cover everything an acquire waits for; this one does.
    async fn in_time<T>(
        &self,
        acquire: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, Error> {
        let Terms { shard, health, .. } = &self.terms;
        if !health.allows() {
            return Err(Error::Down(*shard));
        }
        match tokio::time::timeout(self.acquire_timeout, acquire).await {
            Ok(Ok(acquired)) => Ok(acquired),
            Ok(Err(sqlx::Error::PoolTimedOut)) | Err(_) => {
                // With connections to spare it is the database that does not take one.
                if !self.pool.is_full() {
                    health.silent();
                }
                Err(Error::Busy(*shard))
            }
            Ok(Err(error)) => {
                health.silent();
                Err(error.into())
            }
        }
    }
}
