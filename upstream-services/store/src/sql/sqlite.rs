//! What is SQLite's alone: files, their pools, and the worker numbers that are locks on files.
//!
//! A shard is one file in WAL mode with two pools: one connection that writes, so that writers
//! queue in the pool, fairly, instead of meeting SQLITE_BUSY, and several that only read and
//! never wait for the writer.
//!
//! # Durability
//! With `synchronous = NORMAL` a commit is a write to the log file without fsync. It is in the
//! kernel when the commit returns: a crash or `kill -9` of the process loses nothing that was
//! acknowledged. A power loss or kernel crash keeps the file consistent, but may lose the
//! commits since the last checkpoint. [`Durability::Power`] sets `FULL`: one fsync a commit, and
//! power loss loses nothing either.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use sqlx::pool::PoolOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{Connection, Sqlite};

use super::Pool;
use crate::generator::{IdGenerator, Reserve};
use crate::{Durability, Error, Files, Options};

/// Takes the write lock at once: a transaction that starts by reading and then writes could
/// find that its snapshot is old, an error no waiting repairs.
pub(crate) const BEGIN_WRITE: &str = "BEGIN IMMEDIATE";

/// The file of a shard.
pub(crate) fn path(files: &Files, number: u16) -> PathBuf {
    files.dir.join(format!("shard-{number:04}.db"))
}

/// Makes the data directory, for this user only: the files hold password hashes.
pub(crate) fn create_dir(dir: &Path) -> Result<(), Error> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|source| Error::File {
        path: dir.to_owned(),
        source,
    })
}

/// The writing and the reading pool of a shard. No connection is made yet.
pub(crate) fn pools(options: &Options, files: &Files, number: u16, create: bool) -> (Pool, Pool) {
    let synchronous = match files.durability {
        Durability::Process => SqliteSynchronous::Normal,
        Durability::Power => SqliteSynchronous::Full,
    };
    let connect = SqliteConnectOptions::new()
        .filename(path(files, number))
        .busy_timeout(files.busy_timeout)
        .foreign_keys(true)
        .synchronous(synchronous);
    let pool = |size: u32| {
        PoolOptions::<Sqlite>::new()
            .max_connections(size)
            .acquire_timeout(options.acquire_timeout)
            .idle_timeout(None)
            .max_lifetime(None)
            // A local file does not hang up.
            .test_before_acquire(false)
            // SQLite ends a transaction by itself when the disk is full, and sqlx goes on counting it: no other can
            // begin on that connection. Whatever rolls back has done so before a connection is given back.
            .before_acquire(|connection, _| {
                let sound = !connection.is_in_transaction();
                Box::pin(async move { Ok(sound) })
            })
    };
    let writer = connect
        .clone()
        .create_if_missing(create)
        .journal_mode(SqliteJournalMode::Wal);
    let reader = connect.pragma("query_only", "ON");
    (
        Pool::Sqlite(pool(1).connect_lazy_with(writer)),
        Pool::Sqlite(pool(options.readers.max(1)).connect_lazy_with(reader)),
    )
}

/// A worker number that no other process on this data has, as long as the value lives. The
/// kernel gives it back however the process ends.
#[derive(Debug)]
pub(crate) struct WorkerNumber {
    number: u8,
    file: File,
}

impl WorkerNumber {
    /// The first free number.
    pub(crate) fn take(dir: &Path) -> Result<Self, Error> {
        for number in 0..=u8::MAX {
            let path = dir.join(format!("worker-{number:03}.lock"));
            let mut open = OpenOptions::new();
            let file = open
                .create(true)
                .read(true)
                .write(true)
                .truncate(false)
                .mode(0o600);
            let locked = file.open(&path).map_err(TryLockError::Error);
            match locked.and_then(|file| file.try_lock().map(|()| file)) {
                Ok(file) => return Ok(Self { number, file }),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(source)) => return Err(Error::File { path, source }),
            }
        }
        Err(Error::NoWorkerNumber(dir.display().to_string()))
    }

    /// How many numbers of this data are taken, by any process.
    pub(crate) fn taken(dir: &Path) -> usize {
        let is_taken = |number: &u8| {
            let file = File::open(dir.join(format!("worker-{number:03}.lock")));
            // One that is free is had for as long as this takes.
            file.is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
        };
        (0..=u8::MAX).filter(is_taken).count()
    }

    /// Makes ids, after all that earlier owners of the number may have made.
    pub(crate) fn generator(self) -> IdGenerator {
        let mut floor = [0; 8];
        let read = self.file.read_exact_at(&mut floor, 0);
        let floor = read.map_or(0, |()| u64::from_be_bytes(floor));
        IdGenerator::resuming(self.number, floor, Box::new(self))
    }
}

impl Reserve for WorkerNumber {
    /// One small write to the file, without fsync.
    fn reserve(&mut self, below: u64) -> std::io::Result<()> {
        self.file.write_all_at(&below.to_be_bytes(), 0)
    }
}
