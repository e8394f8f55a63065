//! One shard: a primary, its replicas, and which of them is read.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use futures::future::{join, join_all};
use tokio::sync::watch;

use crate::database::Database;
use crate::replica::{self, Replica};
use crate::spill::Spill;
use crate::sql::{Connection, Transaction, sql, sqlite};
use crate::standing::{Member, READ_ONLY};
use crate::{Data, Error, Options, Position, Standing};

/// One shard of the data.
#[derive(Debug)]
pub struct Shard {
    number: u16,
    /// The data set that it belongs to, once that is known.
    data_set: Arc<OnceLock<i64>>,
    /// Takes writes.
    primary: Database,
    /// The primary for reads, where that is another pool: files have one connection that writes.
    reader: Option<Database>,
    replicas: Vec<Replica>,
    /// Which replica is asked next.
    turn: AtomicUsize,
    spill: Spill,
    lag_bound: Duration,
    /// Why it is not used, while it is not.
    kept_out: ArcSwapOption<Error>,
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

impl Shard {
    pub(crate) fn new(options: &Options, number: u16, create: bool) -> Self {
        let data_set = Arc::new(OnceLock::new());
        let (primary, reader, replicas) = match &options.data {
            Data::Files(files) => {
                let place = sqlite::path(files, number).display().to_string();
                let file = |pool| Database::file(options, number, place.clone(), pool);
                let (writer, reader) = sqlite::pools(options, files, number, create);
                (file(writer), Some(file(reader)), Vec::new())
            }
            Data::Servers(servers) => {
                let server = |server, is_primary| {
                    Database::server(options, number, server, is_primary, data_set.clone())
                };
                let servers = &servers[usize::from(number)];
                let replicas = servers.replicas.iter().map(|of| server(of, false));
                let replicas = replicas.map(|database| Replica::new(database, options.readers));
                (server(&servers.primary, true), None, replicas.collect())
            }
        };
        Self {
            number,
            data_set,
            primary,
            reader,
            replicas,
            turn: AtomicUsize::new(0),
            spill: Spill::new(options.spill_per_second),
            lag_bound: options.lag_bound,
            kept_out: ArcSwapOption::from_pointee(Error::Down(number)),
        }
    }

    /// The shard's number.
    pub const fn number(&self) -> u16 {
        self.number
    }

    /// The database that takes writes, whether it may be used yet or not: for who opens it.
    pub(crate) const fn primary(&self) -> &Database {
        &self.primary
    }

    /// Lets it be used from now on.
    pub(crate) fn admit(&self) {
        self.kept_out.store(None);
    }

    /// Whether it may be used.
    pub(crate) fn is_admitted(&self) -> bool {
        self.kept_out.load().is_none()
    }

    /// Keeps it from being used until it is admitted, and logs why if that is news.
    pub(crate) fn keep_out(&self, why: Error) {
        let (text, is_away) = (why.to_string(), why.is_away());
        let before = self.kept_out.swap(Some(Arc::new(why)));
        if before.is_some_and(|before| before.to_string() == text) {
            return;
        }
        let (shard, server) = (self.number, self.primary.place());
        match is_away {
            true => tracing::warn!(
                shard,
                server,
                "the shard is not used until its primary is back: {text}"
            ),
            false => tracing::error!(shard, server, "the shard is not used: {text}"),
        }
    }

    fn refuse_kept_out(&self) -> Result<(), Error> {
        match &*self.kept_out.load() {
            None => Ok(()),
            Some(why) => Err(Error::KeptOut {
                shard: self.number,
                why: why.clone(),
            }),
        }
    }

    /// Whether it is a file, and not on a server.
    pub(crate) const fn is_file(&self) -> bool {
        self.primary.is_file()
    }

    /// A connection to read with.
    ///
    /// # Errors
    /// [`Error::Busy`] when none becomes free in time; [`Error::Down`]; [`Error::KeptOut`]; [`Error::Protected`] when no replica is fit
    /// and the primary has taken all the reads in their place that it may; [`Error::Database`].
    pub async fn read(&self, freshness: &Freshness) -> Result<Connection, Error> {
        self.refuse_kept_out()?;
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
    /// [`Error::Busy`], [`Error::Down`], [`Error::KeptOut`], [`Error::ReadOnly`], [`Error::Database`].
    pub async fn write(&self) -> Result<Connection, Error> {
        self.refuse_kept_out()?;
        self.primary.acquire_to_write().await
    }

    /// A transaction that may write.
    ///
    /// # Errors
    /// As [`Shard::write`].
    pub async fn begin(&self) -> Result<Transaction, Error> {
        self.refuse_kept_out()?;
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

    /// Says which data set it belongs to: from then on servers that belong to another are not used.
    pub(crate) fn belongs_to(&self, data_set: i64) {
        let _ = self.data_set.set(data_set); // once, when the data is opened
    }

    /// The data set that it belongs to, once that is known.
    pub(crate) fn data_set(&self) -> Option<i64> {
        self.data_set.get().copied()
    }

    /// Refuses a primary that takes no writes, before any is tried.
    pub(crate) async fn refuse_read_only(&self) -> Result<(), Error> {
        if self.is_file() {
            return Ok(());
        }
        let mut connection = self.primary.acquire().await?;
        let read_only: bool = sql(READ_ONLY).value(&mut connection).await?;
        match read_only {
            true => Err(self.primary.read_only()),
            false => Ok(()),
        }
    }

    /// Looks once whether the servers are what they should be, and how far the replicas are behind.
    pub(crate) async fn measure(&self) -> Result<(), Error> {
        let (time, read) = replica::beat(&self.primary, self.has_replicas()).await?;
        let measured = self
            .replicas
            .iter()
            .map(|replica| replica.measure(time, read));
        join_all(measured).await; // each by itself: one may be gone
        Ok(())
    }

    /// Does so for ever, at the primary with so long a pause. Each server by itself: one that stands still does not keep the
    /// others waiting.
    pub(crate) async fn watch(&self, pause: Duration) {
        let (beat, last) = watch::channel(None);
        let primary = async {
            loop {
                match replica::beat(&self.primary, self.has_replicas()).await {
                    Ok(time) => drop(beat.send_replace(Some(time))),
                    Err(error) => self.not_measured(&error),
                }
                tokio::time::sleep(pause).await;
            }
        };
        let replicas = self.replicas.iter().map(async |replica| {
            loop {
                let beat = *last.borrow();
                // The last will do: what has passed since is known.
                if let Some((time, read)) = beat
                    && let Err(error) = replica.measure(time, read).await
                {
                    self.not_measured(&error);
                }
                tokio::time::sleep(replica::BEAT).await;
            }
        });
        join(primary, join_all(replicas)).await;
    }

    fn not_measured(&self, error: &Error) {
        tracing::debug!(shard = self.number, %error, "a server was not measured");
    }

    /// The replicas that do not answer in time, by their place.
    pub(crate) async fn ping_replicas(&self, limit: Duration) -> Vec<(u16, usize, Error)> {
        let pings = self.replicas.iter().map(|replica| replica.ping(limit));
        let outcomes = join_all(pings).await;
        let outcomes = outcomes.into_iter().enumerate();
        let failed = outcomes.filter_map(|(place, outcome)| Some((place, outcome.err()?)));
        failed
            .map(|(place, error)| (self.number, place, error))
            .collect()
    }

    /// How it does.
    pub fn status(&self) -> ShardStatus {
        let standing = self.primary.member();
        let replicas = self.replicas.iter().map(|replica| &replica.database);
        let databases = replicas.chain(&self.reader).chain([&self.primary]);
        let kept_out = self.kept_out.load_full();
        ShardStatus {
            number: self.number,
            well: self.primary.health().is_well()
                && !kept_out.as_ref().is_some_and(|why| why.is_silence()),
            kept_out: kept_out.map(|why| why.to_string()),
            trips: self.primary.health().trips(),
            standing: standing.map_or(Standing::Fit, |member| (*member.standing()).clone()),
            read_only: standing.is_some_and(Member::is_read_only),
            crowded: databases.map(Database::crowded).sum(),
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
    /// Why the shard is not used, though the data is open: since then its primary has not been there, or was not the right one.
    pub kept_out: Option<String>,
    /// How often the primary has ceased to answer.
    pub trips: u64,
    /// What the primary has turned out to be.
    pub standing: Standing,
    /// Whether the primary takes no writes.
    pub read_only: bool,
    /// Requests that were refused because too many waited for a connection.
    pub crowded: u64,
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
    /// What it has turned out to be.
    pub standing: Standing,
    /// Positions that were not waited for, because too many were: these reads went elsewhere.
    pub unwaited: u64,
}

impl ReplicaStatus {
    fn of(replica: &Replica) -> Self {
        Self {
            well: replica.database.health().is_well(),
            trips: replica.database.health().trips(),
            lag: replica.lag(),
            standing: replica.standing(),
            unwaited: replica.unwaited(),
        }
    }
}

/// How long a read waits for a replica to reach a position.
const PATIENCE: Duration = Duration::from_millis(50);
