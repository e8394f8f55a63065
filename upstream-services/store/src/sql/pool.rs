//! Connections and transactions, and the pools that they come from.

use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::{MySql, Sqlite};
use tokio::runtime::Handle;

use super::dialect::Dialect;
use super::on::{On, Session, Terms};
use super::sql;
use super::sqlite::BEGIN_WRITE;
use crate::{Error, Position};

/// Connections to one database.
#[derive(Clone, Debug)]
pub(crate) enum Pool {
    Sqlite(sqlx::Pool<Sqlite>),
    MySql(sqlx::Pool<MySql>),
}

/// A connection borrowed from a pool.
#[derive(Debug)]
pub struct Connection {
    inner: Inner<PoolConnection<Sqlite>, PoolConnection<MySql>>,
    terms: Terms,
    epoch: Option<i64>,
    /// A statement was given up, and its answer may still come.
    late: bool,
}

/// A transaction on one shard; it rolls back when it is dropped.
#[derive(Debug)]
pub struct Transaction {
    /// There until the commit.
    inner: Inner<Option<sqlx::Transaction<'static, Sqlite>>, Option<PoolConnection<MySql>>>,
    terms: Terms,
    late: bool,
}

#[derive(Debug)]
enum Inner<S, M> {
    Sqlite(S),
    MySql(M),
}

impl Pool {
    pub(crate) async fn acquire(&self, terms: Terms) -> Result<Connection, sqlx::Error> {
        let inner = match self {
            Self::Sqlite(pool) => Inner::Sqlite(pool.acquire().await?),
            Self::MySql(pool) => Inner::MySql(pool.acquire().await?),
        };
        Ok(Connection {
            inner,
            terms,
            epoch: None,
            late: false,
        })
    }

    /// Begins a transaction that may write.
    pub(crate) async fn begin(&self, terms: Terms) -> Result<Transaction, sqlx::Error> {
        let inner = match self {
            Self::Sqlite(pool) => Inner::Sqlite(Some(pool.begin_with(BEGIN_WRITE).await?)),
            Self::MySql(pool) => Inner::MySql(Some(pool.acquire().await?)),
        };
        // Until the answer is here, nobody knows what state the connection is in.
        let mut transaction = Transaction {
            inner,
            terms,
            late: true,
        };
        if let Inner::MySql(Some(connection)) = &mut transaction.inner {
            let begin = sqlx::raw_sql("START TRANSACTION");
            begin.execute(&mut **connection).await?;
        }
        transaction.late = false;
        Ok(transaction)
    }

    /// Whether all connections that there may be are in use.
    pub(crate) fn is_full(&self) -> bool {
        let (size, most) = match self {
            Self::Sqlite(pool) => (pool.size(), pool.options().get_max_connections()),
            Self::MySql(pool) => (pool.size(), pool.options().get_max_connections()),
        };
        size >= most
    }

    /// Whether whoever wants a connection has to wait until one is given back.
    pub(crate) fn is_exhausted(&self) -> bool {
        let idle = match self {
            Self::Sqlite(pool) => pool.num_idle(),
            Self::MySql(pool) => pool.num_idle(),
        };
        idle == 0 && self.is_full()
    }

    pub(crate) async fn close(&self) {
        match self {
            Self::Sqlite(pool) => pool.close().await,
            Self::MySql(pool) => pool.close().await,
        }
    }
}

impl Connection {
    /// The same, for statements that an epoch of the shard map has sent here.
    pub(crate) const fn fenced(mut self, epoch: i64) -> Self {
        self.epoch = Some(epoch);
        self
    }

    /// How far a reader has to be to see what was written here last.
    pub(crate) async fn position(&mut self, dialect: &dyn Dialect) -> Result<Position, Error> {
        let mut reached: String = sql(dialect.position()).value(&mut *self).await?;
        // MySQL begins a line for each server that has ever been the primary.
        reached.retain(|char| !char.is_whitespace());
        Ok(Position::new(self.terms.shard, reached))
    }

    /// Ends the connection instead of giving it back.
    pub(crate) fn discard(mut self) {
        self.late = true;
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let (Inner::MySql(connection), true) = (&mut self.inner, self.late) {
            connection.close_on_drop();
        }
    }
}

impl Transaction {
    /// Ends the connection, and with it the transaction, instead of giving it back.
    pub(crate) fn discard(mut self) {
        self.late = true;
    }

    /// Refuses to go on when the shard map has changed since an epoch, and keeps it from changing before the end.
    pub(crate) async fn fence(&mut self, epoch: i64) -> Result<(), Error> {
        let select = match &self.inner {
            // The one that writes is alone.
            Inner::Sqlite(_) => "SELECT epoch FROM shard_fence",
            Inner::MySql(_) => "SELECT epoch FROM shard_fence LOCK IN SHARE MODE",
        };
        let newest: i64 = sql(select).value(&mut *self).await?;
        if newest > epoch {
            return Err(Error::StaleMap {
                shard: self.terms.shard,
                used: epoch,
                newest,
            });
        }
        Ok(())
    }

    /// Makes what was written last.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Slow`]. The transaction may have been committed all the same.
    pub async fn commit(self) -> Result<(), Error> {
        self.end().await.map(drop)
    }

    /// Commits; the connection, where it is one to a server and can say how far it has come.
    pub(crate) async fn end(mut self) -> Result<Option<Connection>, Error> {
        match &mut self.inner {
            Inner::Sqlite(transaction) => {
                if let Some(transaction) = transaction.take() {
                    self.terms.time(transaction.commit()).await?;
                }
                Ok(None)
            }
            Inner::MySql(connection) => {
                let Some(open) = connection else {
                    return Ok(None);
                };
                // The server rolls back what it has not committed when the connection ends here.
                self.late = true;
                let commit = sqlx::raw_sql("COMMIT").execute(&mut **open);
                self.terms.time(commit).await?;
                self.late = false;
                Ok(connection.take().map(|connection| Connection {
                    inner: Inner::MySql(connection),
                    terms: self.terms.clone(),
                    epoch: None,
                    late: false,
                }))
            }
        }
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        let Inner::MySql(connection) = &mut self.inner else {
            return; // sqlx rolls back
        };
        let Some(mut connection) = connection.take() else {
            return;
        };
        match Handle::try_current() {
            Ok(runtime) if !self.late => {
                runtime.spawn(rollback(connection, self.terms.limit));
            }
            _ => connection.close_on_drop(),
        }
    }
}

/// Gives a connection back without what was written on it.
async fn rollback(mut connection: PoolConnection<MySql>, limit: Duration) {
    let rollback = sqlx::raw_sql("ROLLBACK").execute(&mut *connection);
    let outcome = tokio::time::timeout(limit, rollback).await;
    if !matches!(outcome, Ok(Ok(_))) {
        connection.close_on_drop();
    }
}

impl<'c> From<&'c mut Connection> for On<'c> {
    fn from(connection: &'c mut Connection) -> Self {
        let session = match &mut connection.inner {
            Inner::Sqlite(session) => Session::Sqlite(session),
            Inner::MySql(session) => Session::MySql(session),
        };
        Self {
            session,
            terms: &connection.terms,
            epoch: connection.epoch,
            late: &mut connection.late,
        }
    }
}

impl<'c> From<&'c mut Transaction> for On<'c> {
    fn from(transaction: &'c mut Transaction) -> Self {
        let session = match &mut transaction.inner {
            Inner::Sqlite(Some(session)) => Session::Sqlite(session),
            Inner::MySql(Some(session)) => Session::MySql(session),
            Inner::Sqlite(None) | Inner::MySql(None) => {
                unreachable!("a commit takes the transaction along")
            }
        };
        Self {
            session,
            terms: &transaction.terms,
            epoch: None,
            late: &mut transaction.late,
        }
    }
}
