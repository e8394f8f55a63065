//! Worker numbers that are lent, where the data is on servers.
//!
//! A number is a row on shard 0. Its owner makes ids below `next_moment` alone, and who takes the number next
//! begins there. So no id comes twice whatever the clocks say, and whoever was paused for long finds that it has no moments left;
//! `lent_until`, by the database's clock, only says when a number may be taken over. Who finds no moments left, as a machine that wakes
//! up does, prolongs the lease at once, or takes another number if somebody has taken this one.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::{Error, Id, IdGenerator, Shard, Time, Transaction, sql};

/// A worker number of this process, prolonged for as long as the value lives.
#[derive(Debug)]
pub(crate) struct Lease(JoinHandle<()>);

/// How long a number is lent. So long may shard 0 be away before there are no new ids.
const TERM: Duration = Duration::from_secs(600);
/// Between two prolongations.
const PERIOD: Duration = Duration::from_secs(60);
/// Between two tries when one has failed.
const AGAIN: Duration = Duration::from_secs(1);
/// How often a start tries again.
const TRIES: u32 = 5;

/// A number that was lent.
#[derive(Clone, Copy, Debug)]
struct Lent {
    number: i64,
    /// Tells owners of the same number apart.
    holder: i64,
    floor: i64,
}

impl Lease {
    /// Takes a number, lends it to the generator, and prolongs it from then on.
    pub(crate) async fn take(
        shard: Arc<Shard>,
        generator: Arc<IdGenerator>,
        holder: i64,
    ) -> Result<Self, Error> {
        let mut tries = 0;
        let lent = loop {
            match take(&shard, &generator, holder).await {
                // Processes that start together may end in a deadlock, which one of them has to leave.
                Err(error) if error.is_passing() && tries < TRIES => tries += 1,
                lent => break lent?,
            }
            tokio::time::sleep(AGAIN / 10).await;
        };
        Ok(Self(tokio::spawn(keep(shard, generator, lent))))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn keep(shard: Arc<Shard>, generator: Arc<IdGenerator>, mut lent: Lent) {
    let mut pause = PERIOD;
    loop {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            // Not after a failure: many want ids while shard 0 is away.
            () = generator.spent(), if pause == PERIOD => {}
        }
        let outcome = match prolong(&shard, &generator, lent).await {
            Ok(Some(lent)) => Ok(lent),
            // Somebody else has it: this process was away for longer than the term.
            Ok(None) => take(&shard, &generator, lent.holder).await,
            Err(error) => Err(error),
        };
        pause = match outcome {
            Ok(prolonged) => {
                lent = prolonged;
                PERIOD
            }
            Err(error) => {
                tracing::warn!(%error, "the lease of the worker number was not prolonged");
                AGAIN
            }
        };
    }
}

/// Takes the first number that nobody has.
async fn take(shard: &Shard, generator: &IdGenerator, holder: i64) -> Result<Lent, Error> {
    let mut tx = shard.begin().await?;
    // All of them: two processes that look at the same time would find the same free one.
    let rows =
        sql("SELECT number, lent_until, next_moment FROM workers ORDER BY number FOR UPDATE");
    let rows: Vec<(i64, i64, i64)> = rows.all(&mut tx).await?;
    let now = database_time(&mut tx).await?;
    let free = rows.iter().find(|&&(_, until, _)| until <= now);
    let number = match free {
        Some(&(number, ..)) => number,
        None if rows.len() <= usize::from(u8::MAX) => rows.len() as i64,
        None => return Err(Error::NoWorkerNumber("this data set".to_owned())),
    };
    let from = free.map_or(0, |&(.., floor)| floor);
    let floor = floor(generator, from);
    let replace =
        "REPLACE INTO workers (number, holder, lent_until, next_moment) VALUES (?, ?, ?, ?)";
    let replace = sql(replace).bind(number).bind(holder);
    let replace = replace.bind(now + TERM.as_millis() as i64).bind(floor);
    replace.run(&mut tx).await?;
    tx.commit().await?;
    generator.lend(number as u8, from.cast_unsigned(), floor.cast_unsigned());
    Ok(Lent {
        number,
        holder,
        floor,
    })
}

/// Prolongs a lease; none when another process has the number.
async fn prolong(
    shard: &Shard,
    generator: &IdGenerator,
    lent: Lent,
) -> Result<Option<Lent>, Error> {
    let mut tx = shard.begin().await?;
    let now = database_time(&mut tx).await?;
    let floor = floor(generator, lent.floor);
    let update =
        "UPDATE workers SET lent_until = ?, next_moment = ? WHERE number = ? AND holder = ?";
    let update = sql(update).bind(now + TERM.as_millis() as i64).bind(floor);
    let update = update.bind(lent.number).bind(lent.holder);
    if update.run(&mut tx).await? != 1 {
        return Ok(None);
    }
    tx.commit().await?;
    generator.lend(lent.number as u8, 0, floor.cast_unsigned());
    Ok(Some(Lent { floor, ..lent }))
}

/// Up to where ids may be made until the lease ends: by this machine's clock, or by the one that was wanted in vain, and never
/// less than before.
fn floor(generator: &IdGenerator, before: i64) -> i64 {
    let term = Id::moment(Time::now().plus(TERM)) - Id::moment(Time::now());
    let wanted = generator.wanted();
    let end = wanted.max(Id::moment(Time::now())) + term;
    end.cast_signed().max(before + 1)
}

async fn database_time(tx: &mut Transaction) -> Result<i64, Error> {
    let now = sql("SELECT CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED)");
    now.value(tx).await
}
