//! A replica: whether it may be read, which is measured.
//!
//! The primary writes down its time a few times a second; what a replica has of that is how far behind it is at most.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use crate::clock::now;
use crate::database::Database;
use crate::sql::{Connection, sql};
use crate::standing::{ASK, Member, Said};
use crate::{Error, Standing};

/// A server that follows a primary.
#[derive(Debug)]
pub(crate) struct Replica {
    pub(crate) database: Database,
    lag: Lag,
    /// Connections that may wait for a position at the same time.
    waits: Semaphore,
    /// Positions that were not waited for, because so many were.
    unwaited: AtomicU64,
}

/// How far behind a replica is.
#[derive(Debug)]
struct Lag {
    /// Milliseconds at most; [`UNKNOWN`] before the first measurement.
    millis: AtomicU64,
    /// When that was, by [`now`].
    measured: AtomicU64,
}

impl Replica {
    /// A replica with so many connections. Half of them may wait: whoever makes up positions leaves the rest to others.
    pub(crate) fn new(database: Database, connections: u32) -> Self {
        Self {
            database,
            waits: Semaphore::new((connections / 2).max(1) as usize),
            unwaited: AtomicU64::new(0),
            lag: Lag {
                millis: AtomicU64::new(UNKNOWN),
                measured: AtomicU64::new(0),
            },
        }
    }

    /// How far behind it is at most; none while that is not known.
    pub(crate) fn lag(&self) -> Option<Duration> {
        let millis = self.lag.millis.load(Relaxed);
        if millis == UNKNOWN {
            return None;
        }
        // Since the measurement it may have stood still.
        let since = now().saturating_sub(self.lag.measured.load(Relaxed));
        Some(Duration::from_millis(millis.saturating_add(since)))
    }

    /// Whether it is known to be no further behind than this.
    pub(crate) fn is_within(&self, bound: Duration) -> bool {
        self.database.health().is_well()
            && self.is_fit()
            && self.lag().is_some_and(|lag| lag <= bound)
    }

    /// Whether it holds the shard.
    pub(crate) fn is_fit(&self) -> bool {
        self.database.member().is_some_and(Member::is_fit)
    }

    /// What it has turned out to be.
    pub(crate) fn standing(&self) -> Standing {
        let member = self.database.member();
        member.map_or(Standing::Unknown, |member| (*member.standing()).clone())
    }

    /// How many positions were not waited for.
    pub(crate) fn unwaited(&self) -> u64 {
        self.unwaited.load(Relaxed)
    }

    /// Measures, given the primary's time in milliseconds, and when it was read; and looks what it holds.
    pub(crate) async fn measure(&self, primary: i64, read: Instant) -> Result<(), Error> {
        let mut connection = self.database.acquire_to_look().await?;
        let select = "SELECT beat, data_set, number FROM heartbeat, shard_identity";
        let select = sql(select).optional::<(i64, i64, i64)>(&mut connection);
        let Ok(found) = tokio::time::timeout(MEASURE, select).await else {
            self.database.health().silent();
            return Err(self.database.unreachable());
        };
        let found = found?;
        let said = found.map(|(_, data_set, number)| (data_set, number, true));
        if let Err(wrong) = self.database.judge(said) {
            connection.discard();
            return Err(wrong);
        }
        let beat = found.map_or(0, |(beat, ..)| beat); // there, or it would have been judged otherwise
        let passed = read.elapsed().as_millis() as i64;
        let lag = (primary + passed - beat).max(0);
        self.lag.millis.store(lag.unsigned_abs(), Relaxed);
        self.lag.measured.store(now(), Relaxed);
        Ok(())
    }

    /// Reads a value, within a time.
    pub(crate) async fn ping(&self, limit: Duration) -> Result<(), Error> {
        let ping = async {
            let mut connection = self.database.acquire().await?;
            sql("SELECT 1")
                .value::<i64>(&mut connection)
                .await
                .map(drop)
        };
        let answer = tokio::time::timeout(limit, ping).await;
        answer.unwrap_or_else(|_| Err(self.database.unreachable()))
    }

    /// A connection that sees what was written before a position; none when it is not reached in time, or when too
    /// many wait for theirs.
    pub(crate) async fn acquire_after(
        &self,
        position: &str,
        patience: Duration,
    ) -> Result<Option<Connection>, Error> {
        let mut connection = self.database.acquire().await?;
        let dialect = self.database.dialect(&mut connection).await?;
        let reached = sql(dialect.reached()).bind(position);
        if reached.value::<Option<i64>>(&mut connection).await? == Some(1) {
            return Ok(Some(connection));
        }
        let Ok(_wait) = self.waits.try_acquire() else {
            self.unwaited.fetch_add(1, Relaxed);
            return Ok(None);
        };
        let wait = sql(dialect.wait()).bind(position);
        let seconds = patience.as_secs_f64().to_string();
        let reached = wait.bind(seconds).value::<Option<i64>>(&mut connection);
        // A server that is stopped in its tracks does not even say that the time is up.
        match tokio::time::timeout(patience * 2, reached).await {
            Ok(reached) => Ok((reached? == Some(1)).then_some(connection)),
            Err(_) => Ok(None),
        }
    }
}

/// Looks what the primary holds and whether it takes writes, and has it write down its time, by its own clock, unless
/// somebody else just has.
pub(crate) async fn beat(primary: &Database, write: bool) -> Result<(i64, Instant), Error> {
    let mut connection = primary.acquire_to_look().await?;
    let said: Option<Said> = sql(ASK).optional(&mut connection).await?;
    if let Err(wrong) = primary.judge(said) {
        connection.discard();
        return Err(wrong);
    }
    if write && !said.is_some_and(|(.., read_only)| read_only) {
        let update = "UPDATE heartbeat SET beat = CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED)
         WHERE beat < CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED) - ?";
        let update = sql(update).bind(BEAT.as_millis() as i64 / 2);
        update.run(&mut connection).await?;
    }
    let time: i64 = sql("SELECT CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED)")
        .value(&mut connection)
        .await?;
    Ok((time, Instant::now()))
}

/// Between two beats.
pub(crate) const BEAT: Duration = Duration::from_millis(200);

/// How long a replica may take to say how far it is.
const MEASURE: Duration = Duration::from_secs(1);

/// Of a lag that was never measured.
const UNKNOWN: u64 = u64::MAX;
