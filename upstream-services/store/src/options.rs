//! How a store is opened.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::sql::sqlite;

/// How to open a store.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the shards are.
    pub data: Data,
    /// Connections to each database for reading, at least one.
    pub readers: u32,
    /// How many may wait for a connection to one database; whoever comes then is refused at once.
    pub waiters: usize,
    /// How long a caller waits for a connection.
    pub acquire_timeout: Duration,
    /// How long a statement may take.
    pub statement_timeout: Duration,
    /// How far behind a replica may be that is read.
    pub lag_bound: Duration,
    /// How many reads a second a primary takes when no replica is fit for them.
    pub spill_per_second: u32,
}

/// Where the shards are.
#[derive(Clone, Debug)]
pub enum Data {
    /// Files of SQLite, in this process.
    Files(Files),
    /// Servers of MariaDB or MySQL, one entry a shard, in the order of the shards' numbers.
    Servers(Vec<Servers>),
}

/// Shards as files.
#[derive(Clone, Debug)]
pub struct Files {
    /// Where the files are.
    pub dir: PathBuf,
    /// How many shards there are; fixed once data exists.
    pub shards: u16,
    /// How long a statement waits for another process's lock.
    pub busy_timeout: Duration,
    /// What an acknowledged write survives.
    pub durability: Durability,
}

/// What an acknowledged write survives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// The end of the process, however it ends. A power loss may take the last moments.
    #[default]
    Process,
    /// A power loss too, at the price of one fsync a write.
    Power,
}

/// The servers of one shard.
#[derive(Clone, Debug)]
pub struct Servers {
    /// The one that takes writes.
    pub primary: Server,
    /// Those that follow it.
    pub replicas: Vec<Server>,
}

/// A database on a server.
#[derive(Clone, Debug)]
pub struct Server {
    /// Name or address of the host.
    pub host: String,
    /// The TCP port.
    pub port: u16,
    /// The database, which exists.
    pub database: String,
    /// Who connects.
    pub user: String,
    /// With which password, if there is one.
    pub password: Option<Password>,
}

/// A password, which no log shows.
#[derive(Clone)]
pub struct Password(pub String);

impl Options {
    /// Shards as files in a folder, with what is right for most.
    pub fn files(dir: impl Into<PathBuf>, shards: u16) -> Self {
        Self::of(Data::Files(Files {
            dir: dir.into(),
            shards,
            busy_timeout: Duration::from_secs(5),
            durability: Durability::Process,
        }))
    }

    /// Shards on servers, with what is right for most.
    pub fn servers(servers: Vec<Servers>) -> Self {
        Self::of(Data::Servers(servers))
    }

    /// What is right for most, with these shards.
    pub const fn of(data: Data) -> Self {
        Self {
            data,
            readers: 4,
            waiters: 512,
            acquire_timeout: Duration::from_secs(2),
            statement_timeout: Duration::from_secs(10),
            lag_bound: Duration::from_secs(5),
            spill_per_second: 1000,
        }
    }

    /// Whether there are no files of these shards yet; what is on servers is not looked at.
    pub fn is_new(&self) -> bool {
        match &self.data {
            Data::Files(files) => !sqlite::path(files, 0).exists(),
            Data::Servers(_) => false,
        }
    }

    /// How many shards there are.
    pub(crate) fn shards(&self) -> u16 {
        match &self.data {
            Data::Files(files) => files.shards,
            Data::Servers(servers) => u16::try_from(servers.len()).unwrap_or(u16::MAX),
        }
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}/{}", self.host, self.port, self.database)
    }
}
