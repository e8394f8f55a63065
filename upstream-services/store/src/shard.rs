//! One shard: where connections to it come from.

use std::time::Duration;

use crate::sql::on::Within;
use crate::sql::{Connection, Pool, Transaction, mysql, sqlite};
use crate::{Data, Error, Options};

/// One shard of the data.
#[derive(Debug)]
pub struct Shard {
    number: u16,
    writer: Pool,
    reader: Pool,
    acquire_timeout: Duration,
    within: Within,
}

impl Shard {
    pub(crate) fn new(options: &Options, number: u16, create: bool) -> Self {
        let (writer, reader) = match &options.data {
            Data::Files(files) => sqlite::pools(options, files, number, create),
            Data::Servers(servers) => {
                let primary = &servers[usize::from(number)].primary;
                let pool = mysql::pool(options, primary, options.readers);
                (pool.clone(), pool)
            }
        };
        Self {
            number,
            writer,
            reader,
            acquire_timeout: options.acquire_timeout,
            within: Within {
                shard: number,
                limit: options.statement_timeout,
            },
        }
    }

    /// The shard's number.
    pub const fn number(&self) -> u16 {
        self.number
    }

    /// Whether it is a file, and not on a server.
    pub(crate) const fn is_file(&self) -> bool {
        matches!(self.writer, Pool::Sqlite(_))
    }

    /// A connection to read with.
    ///
    /// # Errors
    /// [`Error::Busy`] when none becomes free in time; [`Error::Database`].
    pub async fn read(&self) -> Result<Connection, Error> {
        self.in_time(self.reader.acquire(self.within)).await
    }

    /// A connection for single statements that write; each commits by itself.
    ///
    /// # Errors
    /// As [`Shard::read`].
    pub async fn write(&self) -> Result<Connection, Error> {
        self.in_time(self.writer.acquire(self.within)).await
    }

    /// A transaction that may write.
    ///
    /// # Errors
    /// As [`Shard::read`].
    pub async fn begin(&self) -> Result<Transaction, Error> {
        self.in_time(self.writer.begin(self.within)).await
    }

    /// Waits for connections in use, then closes them all.
    pub(crate) async fn close(&self) {
        self.reader.close().await;
        self.writer.close().await;
    }

    /// The pool's own time-out does not cover everything an acquire waits for; this one does.
    async fn in_time<T>(
        &self,
        acquire: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, Error> {
        match tokio::time::timeout(self.acquire_timeout, acquire).await {
            Ok(Err(sqlx::Error::PoolTimedOut)) | Err(_) => Err(Error::Busy(self.number)),
            Ok(acquired) => Ok(acquired?),
        }
    }
}
