//! One shard: a primary, its replicas, and which of them is read.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use crate::database::Database;
use crate::replica::{self, Replica};
use crate::spill::Spill;
use crate::sql::{Connection, Transaction, mysql, sqlite};
use crate::{Data, Error, Options, Position};

/// One shard of the data.
#[derive(Debug)]
pub struct Shard {
    number: u16,
    /// Takes writes.
    primary: Database,
    /// The primary for reads, where that is another pool: files have one connection that writes.
    reader: Option<Database>,
    replicas: Vec<Replica>,
    /// Which replica is asked next.
    turn: AtomicUsize,
    spill: Spill,
    lag_bound: Duration,
}

/// How new what is read must be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Freshness {
    /// Replicas may be behind by as much as the store's bound.
    #[default]
    Bounded,
    /// It shows what was written before this position.
    After(Position),
    /// It shows every write: the primary is read.
    Latest,
}

/// How long a read waits for a replica to reach a position.
const PATIENCE: Duration = Duration::from_millis(50);

impl Shard {
    pub(crate) fn new(options: &Options, number: u16, create: bool) -> Self {
        let (primary, reader, replicas) = match &options.data {
            Data::Files(files) => {
                let file = |pool| Database::new(options, number, |_| pool);
                let (writer, reader) = sqlite::pools(options, files, number, create);
                (file(writer), Some(file(reader)), Vec::new())
            }
            Data::Servers(servers) => {
                let server = |server| {
                    Database::new(options, number, |health| {
                        mysql::pool(options, server, health)
                    })
                };
                let servers = &servers[usize::from(number)];
                let replicas = servers.replicas.iter().map(server).map(Replica::new);
                (server(&servers.primary), None, replicas.collect())
            }
        };
        Self {
            number,
            primary,
            reader,
            replicas,
            turn: AtomicUsize::new(0),
            spill: Spill::new(options.spill_per_second),
            lag_bound: options.lag_bound,
        }
    }

    /// The shard's number.
    pub const fn number(&self) -> u16 {
        self.number
    }

    /// Whether it is a file, and not on a server.
    pub(crate) const fn is_file(&self) -> bool {
        self.primary.is_file()
    }

    /// A connection to read with.
    ///
    /// # Errors
    /// [`Error::Busy`] when none becomes free in time; [`Error::Down`]; [`Error::Protected`] when no replica is fit
    /// and the primary has taken all the reads in their place that it may; [`Error::Database`].
    pub async fn read(&self, freshness: &Freshness) -> Result<Connection, Error> {
        let primary = self.reader.as_ref().unwrap_or(&self.primary);
        let latest = match freshness {
            Freshness::Bounded => false,
            Freshness::After(position) => position.is_unknown(),
            Freshness::Latest => true,
        };
        if self.replicas.is_empty() || latest {
            return primary.acquire().await;
        }
        let first = self.turn.fetch_add(1, Relaxed);
        for next in 0..self.replicas.len() {
            let replica = &self.replicas[(first + next) % self.replicas.len()];
            if let Some(connection) = self.read_replica(replica, freshness).await {
                return Ok(connection);
            }
        }
        match self.spill.take() {
            true => primary.acquire().await,
            false => Err(Error::Protected(self.number)),
        }
    }

    async fn read_replica(&self, replica: &Replica, freshness: &Freshness) -> Option<Connection> {
        if !replica.is_within(self.lag_bound) {
            return None;
        }
        let position = match freshness {
            Freshness::After(position) => position.on(self.number),
            Freshness::Bounded | Freshness::Latest => None,
        };
        let connection = match position {
            Some(position) => replica.acquire_after(position, PATIENCE).await,
            None => replica.database.acquire().await.map(Some),
        };
        // A replica that fails is one that is not there: its circuit breaker has noted it.
        connection.unwrap_or_default()
    }

    /// A connection for single statements that write; each commits by itself.
    ///
    /// # Errors
    /// [`Error::Busy`], [`Error::Down`], [`Error::Database`].
    pub async fn write(&self) -> Result<Connection, Error> {
        self.primary.acquire().await
    }

    /// A transaction that may write.
    ///
    /// # Errors
    /// As [`Shard::write`].
    pub async fn begin(&self) -> Result<Transaction, Error> {
        self.primary.begin().await
    }

    /// Commits a transaction of this shard; how far a reader has to be to see it.
    ///
    /// # Errors
    /// As [`Transaction::commit`].
    pub async fn commit(&self, transaction: Transaction) -> Result<Position, Error> {
        self.primary.commit(transaction).await
    }

    pub(crate) const fn has_replicas(&self) -> bool {
        !self.replicas.is_empty()
    }

    /// Measures how far the replicas are behind.
    pub(crate) async fn measure(&self) -> Result<(), Error> {
        let (time, read) = replica::beat(&self.primary).await?;
        let measured = self
            .replicas
            .iter()
            .map(|replica| replica.measure(time, read));
        futures::future::join_all(measured).await; // each by itself: one may be gone
        Ok(())
    }

    /// How it does.
    pub fn status(&self) -> ShardStatus {
        ShardStatus {
            number: self.number,
            well: self.primary.health().is_well(),
            trips: self.primary.health().trips(),
            replicas: self.replicas.iter().map(ReplicaStatus::of).collect(),
            protected: self.spill.refused(),
        }
    }

    /// Waits for connections in use, then closes them all.
    pub(crate) async fn close(&self) {
        for replica in &self.replicas {
            replica.database.close().await;
        }
        if let Some(reader) = &self.reader {
            reader.close().await;
        }
        self.primary.close().await;
    }
}

/// How a shard does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardStatus {
    /// The shard's number.
    pub number: u16,
    /// Whether the primary answers.
    pub well: bool,
    /// How often the primary has ceased to answer.
    pub trips: u64,
    /// Its replicas.
    pub replicas: Vec<ReplicaStatus>,
    /// Reads that were refused to protect the primary.
    pub protected: u64,
}

/// How a replica does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaStatus {
    /// Whether it answers.
    pub well: bool,
    /// How often it has ceased to answer.
    pub trips: u64,
    /// How far behind it is at most; none while that is not known.
    pub lag: Option<Duration>,
}

impl ReplicaStatus {
    fn of(replica: &Replica) -> Self {
        Self {
            well: replica.database.health().is_well(),
            trips: replica.database.health().trips(),
            lag: replica.lag(),
        }
    }
}
