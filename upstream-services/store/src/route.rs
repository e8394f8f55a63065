//! The way to a key: its shard, by an epoch of the shard map.

use std::sync::Arc;

use crate::{Bucket, Connection, Error, Freshness, Id, Position, Shard, Transaction};

/// Where a key lives, as far as this process knows. Every statement that goes this way says by which epoch of
/// the map, and a shard that knows a newer one refuses it.
#[derive(Clone, Debug)]
pub struct Route {
    pub(crate) shard: Arc<Shard>,
    pub(crate) epoch: i64,
}

impl Route {
    /// The shard.
    pub fn shard(&self) -> &Shard {
        &self.shard
    }

    /// A connection to read with.
    ///
    /// # Errors
    /// As [`Shard::read`].
    pub async fn read(&self, freshness: &Freshness) -> Result<Connection, Error> {
        Ok(self.shard.read(freshness).await?.fenced(self.epoch))
    }

    /// A connection for single statements that write; each commits by itself.
    ///
    /// # Errors
    /// As [`Shard::write`].
    pub async fn write(&self) -> Result<Connection, Error> {
        Ok(self.shard.write().await?.fenced(self.epoch))
    }

    /// A transaction that may write. The shard map does not change before its end.
    ///
    /// # Errors
    /// As [`Shard::begin`]; [`Error::StaleMap`].
    pub async fn begin(&self) -> Result<Transaction, Error> {
        let mut transaction = self.shard.begin().await?;
        transaction.fence(self.epoch).await?;
        Ok(transaction)
    }

    /// Commits a transaction of [`Route::begin`]; how far a reader has to be to see it.
    ///
    /// # Errors
    /// As [`Transaction::commit`].
    pub async fn commit(&self, transaction: Transaction) -> Result<Position, Error> {
        self.shard.commit(transaction).await
    }
}

impl From<Id> for Bucket {
    fn from(id: Id) -> Self {
        id.bucket()
    }
}
