//! Whether a server is the one that the configuration takes it for: that it holds its shard of the data set, and, if it
//! is to take writes, that it does.
//!
//! Each connection asks before it is used first, because any may lead to another server than the one before; and
//! the probe asks again and again, because a server can change.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use sqlx::mysql::MySqlConnection;

use crate::clock::now;
use crate::error::is_passing;

/// A condition in SQL; a constant could not be part of others.
macro_rules! takes_no_writes {
    () => {
        "CAST(@@GLOBAL.read_only AS CHAR) NOT IN ('0', 'OFF')"
    };
}

/// What a server has turned out to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// Nobody has asked it yet.
    #[default]
    Unknown,
    /// It holds the shard.
    Fit,
    /// It holds something else.
    Foreign {
        /// The shard that it holds.
        number: i64,
        /// The data set that the shard belongs to.
        data_set: i64,
    },
    /// It does not say what it holds, and why.
    Unreadable(String),
}

/// One server, and what it has to be.
#[derive(Debug)]
pub(crate) struct Member {
    shard: u16,
    /// Whether it is to take writes.
    is_primary: bool,
    /// Where it is, for people.
    place: String,
    /// The data set, once it is known.
    data_set: Arc<OnceLock<i64>>,
    standing: ArcSwap<Standing>,
    /// When it was found to be wrong last, by [`now`]; 0 before the first time.
    wrong: AtomicU64,
    read_only: AtomicBool,
}

/// What a server says of itself: data set, shard, and whether it takes no writes.
pub(crate) type Said = (i64, i64, bool);

impl Member {
    pub(crate) fn new(
        shard: u16,
        is_primary: bool,
        place: String,
        data_set: Arc<OnceLock<i64>>,
    ) -> Self {
        Self {
            shard,
            is_primary,
            place,
            data_set,
            standing: ArcSwap::default(),
            wrong: AtomicU64::new(0),
            read_only: AtomicBool::new(false),
        }
    }

    pub(crate) fn standing(&self) -> Arc<Standing> {
        self.standing.load_full()
    }

    /// Whether it is known to be another server than it should be.
    pub(crate) fn is_wrong(&self) -> bool {
        !matches!(**self.standing.load(), Standing::Unknown | Standing::Fit)
    }

    /// Whether it was found to be wrong within the last while: a connection that is older may lead to what was wrong.
    pub(crate) fn was_wrong_within(&self, time: Duration) -> bool {
        let wrong = self.wrong.load(Relaxed);
        wrong > 0 && wrong + time.as_millis() as u64 + 1 >= now()
    }

    pub(crate) fn is_fit(&self) -> bool {
        **self.standing.load() == Standing::Fit
    }

    /// Whether it is to take writes, and said last that it takes none.
    pub(crate) fn is_read_only(&self) -> bool {
        self.read_only.load(Relaxed)
    }

    /// Asks over a new connection, before anything else is asked over it.
    pub(crate) async fn greet(&self, connection: &mut MySqlConnection) -> Result<(), sqlx::Error> {
        if self.data_set.get().is_none() {
            return Ok(()); // who opens the data looks for itself
        }
        let said = sqlx::query_as::<_, Said>(ASK).fetch_optional(&mut *connection);
        let is_fit = match said.await {
            Ok(said) => self.judge(said),
            // One that is shutting down, say, has said nothing about what it holds.
            Err(sqlx::Error::Database(error)) if !is_passing(&*error) => {
                self.settle(Standing::Unreadable(error.to_string()));
                false
            }
            Err(error) => return Err(error),
        };
        if !is_fit {
            // Whoever gets it looks at the standing, which by then may be that of a connection to another server: nothing
            // can be asked over this one, whatever becomes of it.
            let _ = sqlx::raw_sql(KILL).execute(connection).await;
        }
        Ok(())
    }

    /// Judges by what it says of itself; whether it is fit.
    pub(crate) fn judge(&self, said: Option<Said>) -> bool {
        let Some(&data_set) = self.data_set.get() else {
            return false;
        };
        let standing = match said {
            None => Standing::Unreadable("its table shard_identity is empty".to_owned()),
            Some((found, number, _)) if (found, number) == (data_set, self.shard.into()) => {
                Standing::Fit
            }
            Some((data_set, number, _)) => Standing::Foreign { number, data_set },
        };
        let is_fit = standing == Standing::Fit;
        self.settle(standing);
        let Some((.., read_only)) = said.filter(|_| is_fit) else {
            return false; // whether another server takes writes says nothing of this one
        };
        let read_only = self.is_primary && read_only;
        let before = self.read_only.swap(read_only, Relaxed);
        let (shard, server) = (self.shard, &self.place);
        match (before, read_only) {
            (false, true) => {
                tracing::error!(shard, %server, "the primary is read-only: nothing is written to it");
            }
            (true, false) => tracing::info!(shard, %server, "the primary takes writes again"),
            _ => {}
        }
        true
    }

    fn settle(&self, standing: Standing) {
        if standing != Standing::Fit {
            self.wrong.store(now(), Relaxed);
        }
        let before = self.standing.load();
        if **before == standing {
            return;
        }
        let (shard, server) = (self.shard, &self.place);
        match (&**before, &standing) {
            (Standing::Unknown, Standing::Fit) => {}
            (_, Standing::Fit) => tracing::info!(shard, %server, "the server is used again"),
            // A replica that has just been set up has nothing yet.
            (_, Standing::Unreadable(_)) => {
                tracing::warn!(shard, %server, "the server is not used: {standing}");
            }
            _ => tracing::error!(shard, %server, "the server is not used: {standing}"),
        }
        self.standing.store(Arc::new(standing));
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("what it holds is not known"),
            Self::Fit => f.write_str("it holds its shard"),
            Self::Foreign { number, data_set } => {
                write!(f, "it holds shard {number} of data set {data_set:016x}")
            }
            Self::Unreadable(why) => write!(f, "it does not say which shard it holds: {why}"),
        }
    }
}

/// Selects whether a server takes no writes. Newer ones know more than two ways to be read-only.
pub(crate) const READ_ONLY: &str = concat!("SELECT ", takes_no_writes!());

/// Selects what a server says of itself: [`Said`].
pub(crate) const ASK: &str = concat!(
    "SELECT data_set, number, ",
    takes_no_writes!(),
    " FROM shard_identity"
);

/// Has the server end the connection that this comes over.
const KILL: &str = "KILL CONNECTION_ID()";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_what_it_says_once_the_data_set_is_known() {
        let data_set = Arc::new(OnceLock::new());
        let member = Member::new(1, true, "db:3306/users".to_owned(), data_set.clone());
        member.judge(Some((7, 2, false)));
        assert!(!member.is_wrong() && !member.is_fit());
        data_set.set(7).unwrap();
        member.judge(Some((7, 1, true)));
        assert!(member.is_fit() && member.is_read_only());
        for wrong in [Some((7, 2, false)), Some((8, 1, false)), None] {
            member.judge(wrong);
            assert!(member.is_wrong() && !member.is_fit(), "{wrong:?}");
            assert!(member.is_read_only(), "{wrong:?} says nothing of it");
            assert!(member.was_wrong_within(Duration::ZERO));
        }
        member.judge(Some((7, 1, false)));
        assert!(member.is_fit() && !member.is_read_only());
    }
}
