//! What can go wrong in the store, named by whose fault it is.

use std::path::PathBuf;

/// An error of the store.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Configuration: the number of shards cannot be served at all.
    #[error("{0} shards: the number of shards must be between 1 and 4096")]
    ShardCount(u16),

    /// Configuration: the data lies in another number of shards.
    #[error(
        "the configuration asks for {configured} shards, but the data was created with {created}; \
         set shards = {created} (resharding is a command of its own, never a side effect)"
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

    /// Configuration or operation: a file stands where another shard belongs.
    #[error("{} does not belong here: it is shard {found} of data set {data_set:016x}", path.display())]
    ForeignShard {
        /// The file.
        path: PathBuf,
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
    #[error("all 256 worker numbers of {} are in use", .0.display())]
    NoWorkerNumber(PathBuf),

    /// Load: no connection became free in time.
    #[error("shard {0} is busy: no connection became free in time")]
    Busy(u16),

    /// Load: a claim was held longer than its lease and another took it over.
    #[error("the write took longer than its claim's lease, and another took the claim over")]
    ClaimLost,

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
