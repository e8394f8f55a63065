//! One shard: where connections to it come from.

use std::future::Future;
use std::time::Duration;

use crate::sqlite::{self, Connection, Pool, Transaction};
use crate::{Error, Options};

/// One shard of the data.
#[derive(Debug)]
pub struct Shard {
    number: u16,
    writer: Pool,
    reader: Pool,
    acquire_timeout: Duration,
}

impl Shard {
    pub(crate) fn new(options: &Options, number: u16, create: bool) -> Self {
        let (writer, reader) = sqlite::pools(options, number, create);
        Self {
            number,
            writer,
            reader,
            acquire_timeout: options.acquire_timeout,
        }
    }

    /// The shard's number.
    pub const fn number(&self) -> u16 {
        self.number
    }

    /// A connection to read with.
    ///
    /// # Errors
    /// [`Error::Busy`] when none becomes free in time; [`Error::Database`].
    pub async fn read(&self) -> Result<Connection, Error> {
        self.in_time(self.reader.acquire()).await
    }

    /// A connection for single statements that write; each commits by itself.
    ///
    /// # Errors
    /// As [`Shard::read`].
    pub async fn write(&self) -> Result<Connection, Error> {
        self.in_time(self.writer.acquire()).await
    }

    /// A transaction that may write.
    ///
    /// # Errors
    /// As [`Shard::read`].
    pub async fn begin(&self) -> Result<Transaction, Error> {
        self.in_time(self.writer.begin_with(sqlite::BEGIN_WRITE))
            .await
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
