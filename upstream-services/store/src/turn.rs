//! Work on a shard that one process does at a time, and others leave to it.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::sql::{Row, Statement, named_lock};
use crate::{Connection, Error, Freshness, Shard};

/// The right to do the upkeep of a shard. It goes with the value, and with the process.
#[derive(Debug)]
pub(crate) struct Turn<'s> {
    shard: &'s Shard,
    lock: Lock,
}

#[derive(Debug)]
enum Lock {
    /// A file beside the shards' files. A transaction would keep the shard's writers waiting for as long.
    File { _locked: File },
    /// A lock of the server's. Statements run on its connection: when that is lost, so is the turn.
    Server(Option<Connection>),
}

impl<'s> Turn<'s> {
    /// Takes the turn, unless another process has it. `dir` is where shards in files are.
    pub(crate) async fn take(shard: &'s Shard, dir: Option<&Path>) -> Result<Option<Self>, Error> {
        let lock = match dir {
            Some(dir) => lock_file(dir)?.map(|locked| Lock::File { _locked: locked }),
            None => {
                let mut connection = shard.write().await?;
                let taken = named_lock::take(&mut connection, UPKEEP, 0).await?;
                taken.then_some(Lock::Server(Some(connection)))
            }
        };
        Ok(lock.map(|lock| Self { shard, lock }))
    }

    pub(crate) const fn shard(&self) -> &'s Shard {
        self.shard
    }

    /// All rows of a statement that reads.
    pub(crate) async fn all<T: Row>(&mut self, select: Statement) -> Result<Vec<T>, Error> {
        match &mut self.lock {
            Lock::Server(Some(connection)) => select.all(connection).await,
            _ => {
                select
                    .all(&mut self.shard.read(&Freshness::Latest).await?)
                    .await
            }
        }
    }

    /// Runs a statement that writes.
    pub(crate) async fn run(&mut self, statement: Statement) -> Result<u64, Error> {
        match &mut self.lock {
            Lock::Server(Some(connection)) => statement.run(connection).await,
            _ => statement.run(&mut self.shard.write().await?).await,
        }
    }

    /// Gives the turn back.
    pub(crate) async fn end(mut self) {
        if let Lock::Server(connection) = &mut self.lock
            && let Some(connection) = connection.take()
        {
            named_lock::release(connection, UPKEEP).await;
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        // Cut off: the connection must not come back to its pool with the lock.
        if let Lock::Server(connection) = &mut self.lock
            && let Some(connection) = connection.take()
        {
            connection.discard();
        }
    }
}

/// Locks the one file for all shards, if no other process has; the kernel unlocks it however the process ends.
fn lock_file(dir: &Path) -> Result<Option<File>, Error> {
    let path = dir.join("upkeep.lock");
    let mut open = OpenOptions::new();
    let open = open.create(true).write(true).truncate(false).mode(0o600);
    let locked = open.open(&path).map_err(TryLockError::Error);
    match locked.and_then(|file| file.try_lock().map(|()| file)) {
        Ok(file) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(source)) => Err(Error::File { path, source }),
    }
}

const UPKEEP: &str = "upkeep";
