//! Connections and transactions, and the pools that they come from.

use sqlx::pool::PoolConnection;
use sqlx::{MySql, Sqlite};

use super::on::{On, Session, Within};
use super::sqlite::BEGIN_WRITE;
use crate::Error;

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
    within: Within,
}

/// A transaction on one shard; it rolls back when it is dropped.
#[derive(Debug)]
pub struct Transaction {
    inner: Inner<sqlx::Transaction<'static, Sqlite>, sqlx::Transaction<'static, MySql>>,
    within: Within,
}

#[derive(Debug)]
enum Inner<S, M> {
    Sqlite(S),
    MySql(M),
}

impl Pool {
    pub(crate) async fn acquire(&self, within: Within) -> Result<Connection, sqlx::Error> {
        let inner = match self {
            Self::Sqlite(pool) => Inner::Sqlite(pool.acquire().await?),
            Self::MySql(pool) => Inner::MySql(pool.acquire().await?),
        };
        Ok(Connection { inner, within })
    }

    /// Begins a transaction that may write.
    pub(crate) async fn begin(&self, within: Within) -> Result<Transaction, sqlx::Error> {
        let inner = match self {
            Self::Sqlite(pool) => Inner::Sqlite(pool.begin_with(BEGIN_WRITE).await?),
            Self::MySql(pool) => Inner::MySql(pool.begin().await?),
        };
        Ok(Transaction { inner, within })
    }

    pub(crate) async fn close(&self) {
        match self {
            Self::Sqlite(pool) => pool.close().await,
            Self::MySql(pool) => pool.close().await,
        }
    }
}

impl Connection {
    /// Ends the connection instead of giving it back.
    pub(crate) fn discard(mut self) {
        match &mut self.inner {
            Inner::Sqlite(connection) => connection.close_on_drop(),
            Inner::MySql(connection) => connection.close_on_drop(),
        }
    }
}

impl Transaction {
    /// Makes what was written last.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Slow`]. The transaction may have been committed all the same.
    pub async fn commit(self) -> Result<(), Error> {
        let commit = async {
            match self.inner {
                Inner::Sqlite(transaction) => transaction.commit().await,
                Inner::MySql(transaction) => transaction.commit().await,
            }
        };
        self.within.time(commit).await
    }
}

impl<'c> From<&'c mut Connection> for On<'c> {
    fn from(connection: &'c mut Connection) -> Self {
        let session = match &mut connection.inner {
            Inner::Sqlite(session) => Session::Sqlite(session),
            Inner::MySql(session) => Session::MySql(session),
        };
        let within = connection.within;
        Self { session, within }
    }
}

impl<'c> From<&'c mut Transaction> for On<'c> {
    fn from(transaction: &'c mut Transaction) -> Self {
        let session = match &mut transaction.inner {
            Inner::Sqlite(session) => Session::Sqlite(session),
            Inner::MySql(session) => Session::MySql(session),
        };
        let within = transaction.within;
        Self { session, within }
    }
}
