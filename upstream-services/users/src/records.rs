//! All that is stored about one user: to show it to them, and to delete it.
//!
//! A table that gets something about users is named here twice.

use std::sync::{Arc, Mutex, PoisonError};

use futures::FutureExt;
use store::{Claimed, Freshness, Id, Page, Position, Store, Time, Transaction, sql};

use crate::Error;
use crate::admins::Role;
use crate::contention::Turns;
use crate::history::{Entry, History};
use crate::profiles::{Kept, Profiles};
use crate::sessions::Sessions;
use crate::{factors, recovery};

/// What the database says of a user. No secrets and no hashes: they say nothing about a person.
pub(crate) struct Record {
    pub(crate) profile: Arc<Kept>,
    pub(crate) role: Role,
    pub(crate) sessions: Vec<SessionRecord>,
    pub(crate) factor: Option<FactorRecord>,
    pub(crate) recovery: Option<RecoveryRecord>,
    /// What happened, the newest first.
    pub(crate) history: Vec<Entry>,
}

/// A session, open or ended, until it is swept.
pub(crate) struct SessionRecord {
    pub(crate) id: Id,
    pub(crate) created_at: Time,
    pub(crate) expires_at: Time,
    pub(crate) revoked_at: Option<Time>,
    /// When it was opened or refreshed last.
    pub(crate) refreshed_at: Option<Time>,
}

/// A second factor.
pub(crate) struct FactorRecord {
    pub(crate) created_at: Time,
    pub(crate) confirmed_at: Option<Time>,
    pub(crate) recovery_codes: i64,
}

/// A message with a recovery token.
pub(crate) struct RecoveryRecord {
    pub(crate) requested_at: Time,
    pub(crate) expires_at: Time,
}

/// Reads and deletes records.
pub(crate) struct Records {
    store: Arc<Store>,
    history: Arc<History>,
}

impl Records {
    pub(crate) const fn new(store: Arc<Store>, history: Arc<History>) -> Self {
        Self { store, history }
    }

    /// All that is stored about a user.
    pub(crate) async fn read(&self, user: Id, profiles: &Profiles) -> Result<Record, Error> {
        let profile = profiles.fresh(user).await?.ok_or(Error::NotFound)?;
        let mut on = self.store.at(user).read(&Freshness::Latest).await?;
        let role = sql("SELECT role FROM users WHERE id = ? AND {fence}").bind(user);
        let role: Option<(String,)> = role.optional(&mut on).await?;
        let (role,) = role.ok_or(Error::NotFound)?;
        let sessions = "SELECT s.id, s.created_at, s.expires_at, s.revoked_at,
               (SELECT MAX(t.issued_at) FROM refresh_tokens t WHERE t.session_id = s.id)
             FROM sessions s WHERE s.user_id = ? AND {fence} ORDER BY s.id";
        let sessions: Vec<SessionRow> = sql(sessions).bind(user).all(&mut on).await?;
        let factor = "SELECT t.created_at, t.confirmed_at,
               (SELECT COUNT(*) FROM recovery_codes c WHERE c.user_id = t.user_id)
             FROM totp t WHERE t.user_id = ? AND {fence}";
        let factor: Option<(Time, Option<Time>, i64)> =
            sql(factor).bind(user).optional(&mut on).await?;
        let recovery =
            "SELECT requested_at, expires_at FROM recoveries WHERE user_id = ? AND {fence}";
        let recovery: Option<(Time, Time)> = sql(recovery).bind(user).optional(&mut on).await?;
        drop(on);
        let page = Page {
            before: None,
            limit: EVENTS,
        };
        let history = self
            .history
            .newest(user, page, Time::now(), &Freshness::Latest)
            .await?;
        Ok(Record {
            history,
            profile,
            role: Role::from_stored(&role),
            sessions: sessions.into_iter().map(SessionRecord::from).collect(),
            factor: factor.map(|(created_at, confirmed_at, recovery_codes)| FactorRecord {
                created_at,
                confirmed_at,
                recovery_codes,
            }),
            recovery: recovery.map(|(requested_at, expires_at)| RecoveryRecord {
                requested_at,
                expires_at,
            }),
        })
    }

    /// Deletes all that is stored about a user: first the rows, in one transaction with the list of
    /// names to release, then the names. A crash in between leaves names that the sweeper releases, and
    /// never a user whose name is another's. The caches forget them, and the sessions that were there.
    ///
    /// Do not drop the future half-way: run it in a task of its own.
    pub(crate) async fn erase(
        &self,
        user: Id,
        profiles: &Profiles,
        sessions: &Sessions,
    ) -> Result<(), Error> {
        let mut turns = Turns::default();
        loop {
            turns.next().await?;
            match self.try_erase(user, profiles, sessions).await {
                // The names were changed meanwhile: look again which to release.
                Err(Error::Contended) => {}
                decided => return decided,
            }
        }
    }

    async fn try_erase(
        &self,
        user: Id,
        profiles: &Profiles,
        sessions: &Sessions,
    ) -> Result<(), Error> {
        let profile = profiles.fresh(user).await?.ok_or(Error::NotFound)?;
        let names = profile.claims();
        let names: Vec<_> = names.iter().map(|(kind, name)| (*kind, &**name)).collect();
        let version = profile.version;
        let history = self.history.clone();
        // Out of the transaction, for when its end is not known.
        let ended = Arc::new(Mutex::new(Vec::new()));
        let found = ended.clone();
        let erased = self
            .store
            .claim_and_write(user, &[], &names, Time::now(), move |tx| {
                async move {
                    let sessions = delete(tx, user, version).await?;
                    *found.lock().unwrap_or_else(PoisonError::into_inner) = sessions;
                    history.erase(tx, user).await
                }
                .boxed()
            })
            .await;
        let position = match &erased {
            Ok(Claimed::Won(_, position)) => position,
            // Nothing was written, for certain.
            Err(Error::Contended) => return Err(Error::Contended),
            // A write that reports an error may have taken place.
            _ => &Position::UNKNOWN,
        };
        profiles.forget(user, position).await;
        let ended = std::mem::take(&mut *ended.lock().unwrap_or_else(PoisonError::into_inner));
        sessions.forget(&ended, position).await;
        match erased? {
            Claimed::Won((), _) => Ok(()),
            Claimed::Taken | Claimed::Own => {
                let why = "no name was claimed, and one was taken".to_owned();
                Err(Error::Internal(why))
            }
        }
    }
}

type SessionRow = (Id, Time, Time, Option<Time>, Option<Time>);

impl From<SessionRow> for SessionRecord {
    fn from(row: SessionRow) -> Self {
        let (id, created_at, expires_at, revoked_at, refreshed_at) = row;
        Self {
            id,
            created_at,
            expires_at,
            revoked_at,
            refreshed_at,
        }
    }
}

/// Deletes a user's rows, if the profile has this version; the sessions that were there.
async fn delete(tx: &mut Transaction, user: Id, version: i64) -> Result<Vec<Id>, Error> {
    // First the user's row: whoever writes something of the user's waits for it, and finds it gone.
    let row = sql("DELETE FROM users WHERE id = ? AND version = ?");
    if row.bind(user).bind(version).run(&mut *tx).await? != 1 {
        return Err(Error::Contended);
    }
    let sessions = sql("SELECT id FROM sessions WHERE user_id = ?").bind(user);
    let sessions: Vec<(Id,)> = sessions.all(&mut *tx).await?;
    // Before their tokens: who exchanges one has the session's row first, too.
    let delete = sql("DELETE FROM sessions WHERE user_id = ?").bind(user);
    delete.run(&mut *tx).await?;
    // By their ids: for a subquery MariaDB reads, and locks, every token there is.
    for some in sessions.chunks(AT_ONCE) {
        let delete = sql("DELETE FROM refresh_tokens WHERE session_id IN ");
        let ids = some.iter().map(|(session,)| *session);
        delete.list(ids).run(&mut *tx).await?;
    }
    factors::remove(tx, user).await?;
    recovery::void(tx, user).await?;
    Ok(sessions.into_iter().map(|(session,)| session).collect())
}

/// Has nobody delete a user before the transaction ends; `false` if the user is gone. Whoever writes a row of a user begins
/// with this, or with another write to the user's row: [`delete`] finds the row, or the writer finds the user gone.
pub(crate) async fn lock(tx: &mut Transaction, user: Id) -> Result<bool, Error> {
    // A write that changes nothing.
    let lock = sql("UPDATE users SET password_version = password_version WHERE id = ?").bind(user);
    Ok(lock.run(tx).await? == 1)
}

/// So many events an export has at most; `/v1/me/history` has them all.
const EVENTS: u16 = 10_000;
/// Sessions whose tokens are deleted by one statement.
const AT_ONCE: usize = 256;
