//! A replica: whether it may be read, which is measured.
//!
//! The primary writes down its time a few times a second; what a replica has of that is how far behind it is at most.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::Error;
use crate::clock::now;
use crate::database::Database;
use crate::sql::{Connection, sql};

/// A server that follows a primary.
#[derive(Debug)]
pub(crate) struct Replica {
    pub(crate) database: Database,
    lag: Lag,
}

/// How far behind a replica is.
#[derive(Debug)]
struct Lag {
    /// Milliseconds at most; [`UNKNOWN`] before the first measurement.
    millis: AtomicU64,
    /// When that was, by [`now`].
    measured: AtomicU64,
}

const UNKNOWN: u64 = u64::MAX;

impl Replica {
    pub(crate) fn new(database: Database) -> Self {
        Self {
            database,
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
        self.database.health().is_well() && self.lag().is_some_and(|lag| lag <= bound)
    }

    /// Measures, given the primary's time in milliseconds, and when it was read.
    pub(crate) async fn measure(&self, primary: i64, read: Instant) -> Result<(), Error> {
        let mut connection = self.database.acquire().await?;
        let beat: i64 = sql("SELECT beat FROM heartbeat")
            .value(&mut connection)
            .await?;
        let passed = read.elapsed().as_millis() as i64;
        let lag = (primary + passed - beat).max(0);
        self.lag.millis.store(lag.unsigned_abs(), Relaxed);
        self.lag.measured.store(now(), Relaxed);
        Ok(())
    }

    /// A connection that sees what was written before a position; none when it is not reached in time.
    pub(crate) async fn acquire_after(
        &self,
        position: &str,
        patience: Duration,
    ) -> Result<Option<Connection>, Error> {
        let mut connection = self.database.acquire().await?;
        let dialect = self.database.dialect(&mut connection).await?;
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

/// What the primary writes down, by its own clock, unless somebody else just has.
pub(crate) async fn beat(primary: &Database) -> Result<(i64, Instant), Error> {
    let mut connection = primary.acquire().await?;
    let update = "UPDATE heartbeat SET beat = CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED)
         WHERE beat < CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED) - ?";
    let update = sql(update).bind(BEAT.as_millis() as i64 / 2);
    update.run(&mut connection).await?;
    let time: i64 = sql("SELECT CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED)")
        .value(&mut connection)
        .await?;
    Ok((time, Instant::now()))
}

/// Between two beats.
pub(crate) const BEAT: Duration = Duration::from_millis(200);
