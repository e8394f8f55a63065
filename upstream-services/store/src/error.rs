//! What can go wrong in the store, named by whose fault it is.

use std::path::PathBuf;
use std::sync::Arc;

use sqlx::error::DatabaseError;
use sqlx::mysql::MySqlDatabaseError;

use crate::Standing;

/// An error of the store.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Configuration: the number of shards cannot be served at all.
    #[error("{0} shards: the number of shards must be between 1 and 4096")]
    ShardCount(u16),

    /// Configuration: the data lies in another number of shards.
    #[error(
        "the configuration asks for {configured} shards, but the data was created with {created}, \
         and their number is fixed: in files set `data.shards` to {created}; on servers name all {created} in `data.shard`, \
         in their order"
    )]
    OtherShardCount {
        /// What the configuration says.
        configured: u16,
        /// What the stored map says.
        created: u16,
    },

    /// Configuration or operation: a shard's file is gone.
    #[error("the data set exists, but the file of shard {number} is missing: {}", path.display())]
    ShardMissing {
        /// The shard.
        number: u16,
        /// Where it should be.
        path: PathBuf,
    },

    /// Configuration or operation: data stands where another shard belongs.
    #[error("{place} does not belong here: it is shard {found} of data set {data_set:016x}")]
    ForeignShard {
        /// The file, or the server's database.
        place: String,
        /// The shard it says it is.
        found: u16,
        /// The data set it says it belongs to.
        data_set: i64,
    },

    /// Operation: the stored shard map does not cover every bucket exactly once.
    #[error("the shard map stored with epoch {0} is damaged")]
    ShardMapDamaged(i64),

    /// Operation: a newer program has migrated this data.
    #[error(
        "shard {shard} has migration {owner} {version}, which this program does not know: the data is newer than the program"
    )]
    NewerSchema {
        /// The shard.
        shard: u16,
        /// Whose schema.
        owner: String,
        /// The unknown migration.
        version: i64,
    },

    /// Internal: a migration's text was changed after it had been applied.
    #[error(
        "shard {shard} was migrated with another text of {owner} {version}: migrations must never be edited"
    )]
    EditedMigration {
        /// The shard.
        shard: u16,
        /// Whose schema.
        owner: &'static str,
        /// The edited migration.
        version: i64,
    },

    /// Operation: as many processes as there are worker numbers use this data set.
    #[error("all 256 worker numbers of {0} are in use")]
    NoWorkerNumber(String),

    /// Operation: the lease of this process's worker number has ended by the clock, and shard 0 has not prolonged it yet.
    #[error(
        "no new ids for now: the number for them was lent until before now, and shard 0 has not prolonged that yet"
    )]
    NoIds,

    /// Load: no connection became free in time.
    #[error("shard {0} is busy: no connection became free in time")]
    Busy(u16),

    /// Load: as many wait for a connection as may.
    #[error("shard {0} is busy: too many wait for a connection")]
    Crowded(u16),

    /// Operation: the server takes no connection.
    #[error("shard {shard}: {place} takes no connection")]
    Unreachable {
        /// The shard.
        shard: u16,
        /// The server and its database.
        place: String,
    },

    /// Configuration or operation: the server refuses whoever connects.
    #[error("shard {shard}: {place} refuses the connection: {source}")]
    Refused {
        /// The shard.
        shard: u16,
        /// The server and its database.
        place: String,
        /// Why. Servers do not repeat passwords.
        source: sqlx::Error,
    },

    /// Configuration or operation: the server holds something else.
    #[error("shard {shard}: {place} is not used: {found}")]
    WrongServer {
        /// The shard.
        shard: u16,
        /// The server and its database.
        place: String,
        /// What it holds.
        found: Arc<Standing>,
    },

    /// Operation: the server that is to take writes takes none.
    #[error(
        "shard {shard}: {place} is read-only, and so no primary: a replica stands in its place, or a fail-over is not \
         complete"
    )]
    ReadOnly {
        /// The shard.
        shard: u16,
        /// The server and its database.
        place: String,
    },

    /// Load or operation: the database did not answer in time.
    #[error("shard {0} is slow: a statement took longer than it may")]
    Slow(u16),

    /// Operation: the database has not answered for a while, and nobody waits for it.
    #[error("shard {0} is down")]
    Down(u16),

    /// Operation: the data was opened without this shard.
    #[error("shard {shard} is not used: {why}")]
    KeptOut {
        /// The shard.
        shard: u16,
        /// Why not.
        why: Arc<Error>,
    },

    /// Load: replicas cannot be read, and the primary takes no more reads in their place.
    #[error("shard {0} is busy: its replicas are behind, and its primary is protected")]
    Protected(u16),

    /// Operation: the shard map has changed, and the statement went by an old one.
    #[error(
        "the shard map has changed: shard {shard} is at epoch {newest}, and was asked by {used}"
    )]
    StaleMap {
        /// The shard.
        shard: u16,
        /// The epoch of the statement.
        used: i64,
        /// The shard's.
        newest: i64,
    },

    /// Internal: a statement that a key has sent here does not say where its fence is.
    #[error("no {{fence}} in: {0}")]
    Unfenced(String),

    /// Load: a claim was held longer than its lease and another took it over.
    #[error("the write took longer than its claim's lease, and another took the claim over")]
    ClaimLost,

    /// Operation: where a month is to be archived stands a file that is not its archive. The month stays.
    #[error("{} is there, and does not hold what is to be archived there: move it away", .0.display())]
    OtherArchive(PathBuf),

    /// Operation: a directory or file cannot be used.
    #[error("{}: {source}", path.display())]
    File {
        /// The directory or file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },

    /// Internal or operation: the database refused a statement.
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
}

impl Error {
    /// Whether a row with the same unique key is there already.
    pub fn is_duplicate(&self) -> bool {
        match self {
            Self::Database(sqlx::Error::Database(error)) => error.is_unique_violation(),
            _ => false,
        }
    }

    /// Whether there is no such table.
    pub(crate) fn is_missing_table(&self) -> bool {
        let Self::Database(sqlx::Error::Database(error)) = self else {
            return false;
        };
        match error.try_downcast_ref::<MySqlDatabaseError>() {
            Some(error) => error.number() == 1146,
            // SQLite has one code for all that is wrong with a statement.
            None => error.message().starts_with("no such table: "),
        }
    }

    /// Whether it may well be gone the next time: the database is busy, full, away or coming back, or somebody else was
    /// faster. Nothing that a client could have done otherwise.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Busy(_)
            | Self::Slow(_)
            | Self::Down(_)
            | Self::KeptOut { .. }
            | Self::Protected(_)
            | Self::Crowded(_)
            | Self::Unreachable { .. }
            | Self::Refused { .. }
            | Self::WrongServer { .. }
            | Self::ReadOnly { .. }
            | Self::StaleMap { .. }
            | Self::NoIds
            | Self::ClaimLost => true,
            Self::Database(sqlx::Error::Database(error)) => is_passing(&**error),
            Self::Database(error) => is_silence(error),
            _ => false,
        }
    }

    /// Whether a primary is only away for now, or its server is busy: data may be opened without it, and it is tried again. What
    /// holds something else, or refuses whoever connects, is somebody's mistake.
    pub(crate) fn is_away(&self) -> bool {
        match self {
            Self::WrongServer { .. } => false,
            Self::Refused {
                source: sqlx::Error::Database(error),
                ..
            } => is_passing(&**error),
            error => error.is_passing(),
        }
    }

    /// Whether a database has not answered.
    pub fn is_silence(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Down(_) | Self::Slow(_) => true,
            Self::Database(error) => is_silence(error),
            _ => false,
        }
    }

    /// Whether a change of tables was refused because it had been made: the table, column or index is there, or
    /// is gone, or the row is there (errors 1050, 1060, 1061, 1062 and 1091 of MariaDB and MySQL).
    pub(crate) fn is_done_already(&self) -> bool {
        let Self::Database(sqlx::Error::Database(error)) = self else {
            return false;
        };
        let error = error.try_downcast_ref::<MySqlDatabaseError>();
        error.is_some_and(|error| matches!(error.number(), 1050 | 1060 | 1061 | 1062 | 1091))
    }
}

/// Whether an error says that the database cannot be reached, rather than that it refuses something.
pub(crate) fn is_silence(error: &sqlx::Error) -> bool {
    use sqlx::Error::{Io, PoolClosed, PoolTimedOut, Protocol, Tls};
    matches!(
        error,
        Io(_) | PoolClosed | PoolTimedOut | Protocol(_) | Tls(_)
    )
}

/// Whether a database refuses what it would take at another time.
pub(crate) fn is_passing(error: &dyn DatabaseError) -> bool {
    match error.try_downcast_ref::<MySqlDatabaseError>() {
        Some(error) => match error.number() {
            // An engine's own number; 28 is that of a full disk.
            1030 => error.message().contains("error 28 "),
            number => PASSING.contains(&number) || FULL.contains(&number),
        },
        // SQLite's code, of which the low byte says what it is about.
        None => error
            .code()
            .and_then(|code| code.parse::<u32>().ok())
            .is_some_and(|code| PASSING_IN_FILES.contains(&(code & 0xff))),
    }
}

/// Of MariaDB and MySQL: too many connections, shutting down, waited too long for a lock, deadlock, read-only while
/// another server takes over.
const PASSING: [u16; 5] = [1040, 1053, 1205, 1213, 1290];

/// Of MariaDB and MySQL, when a disk or a table's space is full: EE_WRITE, EE_DISK_FULL, ER_DISK_FULL, ER_ERROR_ON_WRITE,
/// ER_RECORD_FILE_FULL, ER_BINLOG_LOGGING_IMPOSSIBLE.
const FULL: [u16; 6] = [3, 20, 1021, 1026, 1114, 1598];

/// Of SQLite: SQLITE_BUSY, SQLITE_IOERR, SQLITE_FULL, SQLITE_CANTOPEN (a log that there is no room for).
const PASSING_IN_FILES: [u32; 4] = [5, 10, 13, 14];
