//! One database: a server, or a file.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::OnceCell;

use crate::error::is_silence;
use crate::queue::Queue;
use crate::sql::dialect::{self, Dialect};
use crate::sql::{Connection, Health, Pool, Terms, Transaction, mysql, sql};
use crate::standing::{ASK, Member, Said};
use crate::{Error, Options, Position, Server};

/// One database, and how it does.
#[derive(Debug)]
pub(crate) struct Database {
    pool: Pool,
    queue: Queue,
    /// What the server has to be; a file is what it is.
    member: Option<Arc<Member>>,
    /// Where it is, for people.
    place: String,
    acquire_timeout: Duration,
    terms: Terms,
    dialect: OnceCell<&'static dyn Dialect>,
}

impl Database {
    /// A file.
    pub(crate) fn file(options: &Options, shard: u16, place: String, pool: Pool) -> Self {
        Self::new(options, shard, place, None, |_| pool)
    }

    /// A server, of the data set that is to be known later.
    pub(crate) fn server(
        options: &Options,
        shard: u16,
        server: &Server,
        is_primary: bool,
        data_set: Arc<OnceLock<i64>>,
    ) -> Self {
        let place = server.to_string();
        let member = Arc::new(Member::new(shard, is_primary, place.clone(), data_set));
        let pool = |health| mysql::pool(options, server, health, member.clone());
        Self::new(options, shard, place, Some(member.clone()), pool)
    }

    fn new(
        options: &Options,
        shard: u16,
        place: String,
        member: Option<Arc<Member>>,
        pool: impl FnOnce(Arc<Health>) -> Pool,
    ) -> Self {
        let health = Arc::new(Health::default());
        Self {
            pool: pool(health.clone()),
            queue: Queue::new(options.waiters),
            member,
            place,
            acquire_timeout: options.acquire_timeout,
            terms: Terms {
                shard,
                limit: options.statement_timeout,
                health,
            },
            dialect: OnceCell::new(),
        }
    }

    /// The shard's number.
    pub(crate) const fn shard(&self) -> u16 {
        self.terms.shard
    }

    /// Where it is, for people.
    pub(crate) fn place(&self) -> &str {
        &self.place
    }

    /// What the server has to be; none of a file.
    pub(crate) fn member(&self) -> Option<&Member> {
        self.member.as_deref()
    }

    /// How many were not let wait for a connection.
    pub(crate) fn crowded(&self) -> u64 {
        self.queue.refused()
    }

    pub(crate) fn health(&self) -> &Health {
        &self.terms.health
    }

    /// Whether it is a file, and not on a server.
    pub(crate) const fn is_file(&self) -> bool {
        matches!(self.pool, Pool::Sqlite(_))
    }

    /// A connection.
    ///
    /// # Errors
    /// [`Error::Down`] at once when it does not answer, [`Error::WrongServer`] when it is not the one that it should be,
    /// [`Error::Crowded`] when too many wait; [`Error::Busy`] when no connection becomes free in time.
    pub(crate) async fn acquire(&self) -> Result<Connection, Error> {
        self.refuse_wrong()?;
        self.acquire_to_look().await
    }

    /// A connection to find out with what a server is that was wrong: a new one asks, and may find it right.
    ///
    /// # Errors
    /// As [`Database::acquire`].
    pub(crate) async fn acquire_to_look(&self) -> Result<Connection, Error> {
        let connection = self.in_time(self.pool.acquire(self.terms.clone())).await?;
        match self.refuse_wrong() {
            Ok(()) => Ok(connection),
            Err(wrong) => {
                connection.discard();
                Err(wrong)
            }
        }
    }

    /// Judges by what the server says of itself.
    ///
    /// # Errors
    /// [`Error::WrongServer`]: nothing is to be asked over the connection that this was said over.
    pub(crate) fn judge(&self, said: Option<Said>) -> Result<(), Error> {
        match self.member() {
            Some(member) if !member.judge(said) => Err(self.wrong(member)),
            _ => Ok(()),
        }
    }

    /// A connection to write with.
    ///
    /// # Errors
    /// As [`Database::acquire`]; [`Error::ReadOnly`].
    pub(crate) async fn acquire_to_write(&self) -> Result<Connection, Error> {
        let connection = self.acquire().await?;
        self.refuse_read_only()?;
        Ok(connection)
    }

    /// A transaction that may write.
    ///
    /// # Errors
    /// As [`Database::acquire_to_write`].
    pub(crate) async fn begin(&self) -> Result<Transaction, Error> {
        self.refuse_wrong()?;
        let begun = self.in_time(self.pool.begin(self.terms.clone())).await;
        let transaction = match begun {
            // The connection had died while nobody used it, and nothing was done on it.
            Err(Error::Database(error)) if is_silence(&error) => {
                self.in_time(self.pool.begin(self.terms.clone())).await
            }
            begun => begun,
        }?;
        match self.refuse_wrong() {
            Ok(()) => {
                self.refuse_read_only()?;
                Ok(transaction)
            }
            Err(wrong) => {
                transaction.discard();
                Err(wrong)
            }
        }
    }

    /// Asks a server what it holds, and whether it takes writes.
    ///
    /// # Errors
    /// As [`Database::acquire_to_write`].
    pub(crate) async fn look(&self) -> Result<(), Error> {
        let mut connection = self.acquire_to_look().await?;
        let said = sql(ASK).optional(&mut connection).await?;
        match self.judge(said) {
            Ok(()) => self.refuse_read_only(),
            Err(wrong) => {
                connection.discard();
                Err(wrong)
            }
        }
    }

    /// Only the probe connects to a server that is known to be the wrong one.
    fn refuse_wrong(&self) -> Result<(), Error> {
        match self.member() {
            Some(member) if member.is_wrong() => Err(self.wrong(member)),
            _ => Ok(()),
        }
    }

    fn wrong(&self, member: &Member) -> Error {
        Error::WrongServer {
            shard: self.terms.shard,
            place: self.place.clone(),
            found: member.standing(),
        }
    }

    fn refuse_read_only(&self) -> Result<(), Error> {
        match self.member() {
            Some(member) if member.is_read_only() => Err(self.read_only()),
            _ => Ok(()),
        }
    }

    pub(crate) fn read_only(&self) -> Error {
        Error::ReadOnly {
            shard: self.terms.shard,
            place: self.place.clone(),
        }
    }

    /// Commits; how far a reader has to be to see it. An error says that the commit failed, and nothing else.
    pub(crate) async fn commit(&self, transaction: Transaction) -> Result<Position, Error> {
        // A file is read where it was written.
        let Some(mut connection) = transaction.end().await? else {
            return Ok(Position::default());
        };
        let position = async {
            let dialect = self.dialect(&mut connection).await?;
            connection.position(dialect).await
        };
        Ok(position.await.unwrap_or(Position::UNKNOWN))
    }

    pub(crate) async fn dialect(
        &self,
        connection: &mut Connection,
    ) -> Result<&'static dyn Dialect, Error> {
        let dialect = self.dialect.get_or_try_init(|| dialect::of(connection));
        dialect.await.copied()
    }

    pub(crate) async fn close(&self) {
        self.pool.close().await;
    }

    /// The pool's own time-out does not cover everything an acquire waits for; this one does.
    async fn in_time<T>(
        &self,
        acquire: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, Error> {
        let Terms { shard, health, .. } = &self.terms;
        let _place = self
            .queue
            .enter(|| self.pool.is_exhausted())
            .ok_or(Error::Crowded(*shard))?;
        if !health.allows() {
            return Err(Error::Down(*shard));
        }
        match tokio::time::timeout(self.acquire_timeout, acquire).await {
            Ok(Ok(acquired)) => Ok(acquired),
            Ok(Err(sqlx::Error::PoolTimedOut)) | Err(_) if self.pool.is_full() => {
                Err(Error::Busy(*shard))
            }
            // With connections to spare it is the database that does not take one.
            Ok(Err(sqlx::Error::PoolTimedOut)) | Err(_) => {
                health.silent();
                Err(self.unreachable())
            }
            Ok(Err(error)) => {
                health.silent();
                Err(self.refused(error))
            }
        }
    }

    /// The error of a server that does not let itself be spoken to.
    pub(crate) fn unreachable(&self) -> Error {
        Error::Unreachable {
            shard: self.terms.shard,
            place: self.place.clone(),
        }
    }

    /// An error of a connection that was not had.
    fn refused(&self, error: sqlx::Error) -> Error {
        match (&error, self.member()) {
            (sqlx::Error::Database(_), Some(_)) => Error::Refused {
                shard: self.terms.shard,
                place: self.place.clone(),
                source: error,
            },
            _ => error.into(),
        }
    }
}
