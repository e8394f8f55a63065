//! Sessions: what a login opens, refresh tokens keep open, and a logout ends.
//!
//! A refresh token works once; its use makes the next one of its family, the session. Presenting
//! a used token again means that two parties hold it, and nobody can say which is the thief: the
//! whole session ends (RFC 9700, section 4.14.2).

mod devices;

use std::sync::Arc;
use std::time::Duration;

use cache::{Cache, Limits, Need, Remote, Source};
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use store::{Id, Position, Shard, Store, Time, Transaction, sql};

use crate::Error;
use crate::accounts::Authenticated;
use crate::admins::Role;
use crate::client::Client;
use crate::freshness::{freshness, mark, seen};
use crate::history::{Event, History, What};
use crate::parts::SessionStates;
use crate::tokens::{Access, RefreshToken};

pub(crate) use devices::Device;

/// Opens, prolongs and ends sessions.
pub(crate) struct Sessions {
    store: Arc<Store>,
    cache: Cache<Rows>,
    history: Arc<History>,
    ttl: Duration,
    reuse: prometheus::IntCounter,
}

/// Sessions, as whoever knows them says.
pub(crate) struct Rows(Arc<dyn SessionStates>);

/// Sessions, as the store has them.
pub(crate) struct StoredSessions(pub(crate) Arc<Store>);

/// Whose a session is, and how long.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct State {
    user: Id,
    expires_at: Time,
    revoked: bool,
}

impl Sessions {
    pub(crate) fn new(
        store: Arc<Store>,
        states: Arc<dyn SessionStates>,
        (limits, remote): (Limits, Option<Arc<Remote>>),
        history: Arc<History>,
        ttl: Duration,
        reuse: prometheus::IntCounter,
    ) -> Self {
        let rows = Rows(states);
        Self {
            store,
            cache: Cache::new(rows, limits, remote),
            history,
            ttl,
            reuse,
        }
    }

    pub(crate) fn cache(&self) -> &Cache<Rows> {
        &self.cache
    }

    /// Opens a session, unless the password has changed or the user was disabled since it was
    /// compared: the change ended the sessions it saw, and this one would slip through.
    pub(crate) async fn open(
        &self,
        who: Authenticated,
        client: Client,
        now: Time,
    ) -> Result<Opened, Error> {
        let user = who.user;
        let session = self.store.new_id(user.bucket(), now)?;
        let token = RefreshToken::new(user, session);
        let expires_at = now.plus(self.ttl);
        let route = self.store.at(user);
        let mut tx = route.begin().await?;
        // A write that changes nothing: whoever changes the row waits for this session, or this for them.
        let lock = "UPDATE users SET password_version = password_version
             WHERE id = ? AND password_version = ? AND disabled_at IS NULL";
        let lock = sql(lock).bind(user).bind(who.password_version);
        if lock.run(&mut tx).await? != 1 {
            return Err(Error::WrongCredentials);
        }
        let role: String = sql("SELECT role FROM users WHERE id = ?")
            .bind(user)
            .value(&mut tx)
            .await?;
        sql("INSERT INTO sessions (id, user_id, created_at, expires_at, last_used_at, address, agent)
             VALUES (?, ?, ?, ?, ?, ?, ?)")
            .bind(session)
            .bind(user)
            .bind(now)
            .bind(expires_at)
            .bind(now)
            .bind(client.address.clone())
            .bind(client.agent.clone())
            .run(&mut tx)
            .await?;
        insert_token(&mut tx, &token, session, now, expires_at).await?;
        let position = route.commit(tx).await?;
        self.history.note(Event {
            user,
            what: What::Login,
            session: Some(session),
            client,
            at: now,
        });
        Ok(Opened {
            access: Access { user, session },
            role: Role::from_stored(&role),
            refresh: token,
            position,
        })
    }

    /// Exchanges a refresh token for the next one.
    pub(crate) async fn refresh(
        &self,
        token: &RefreshToken,
        client: Client,
        now: Time,
    ) -> Result<Opened, Error> {
        let (Some(user), Some(session)) = (token.user(), token.session()) else {
            return Err(Error::WrongRefreshToken);
        };
        let route = self.store.at(user);
        let mut tx = route.begin().await?;
        let access = Access { user, session };
        let prolonged = (client.clone(), now.plus(self.ttl));
        match exchange(&mut tx, token, access, prolonged, now).await? {
            Presented::Refused => Err(Error::WrongRefreshToken),
            Presented::Used => {
                let record = self.history.record(Event {
                    user,
                    what: What::RefreshReuse,
                    session: Some(session),
                    client,
                    at: now,
                })?;
                if !revoke(&mut tx, session, now).await? {
                    return Err(Error::WrongRefreshToken);
                }
                record.write(&mut tx).await?;
                self.committed(session, route.commit(tx).await).await?;
                self.reuse.inc();
                tracing::warn!(%user, %session, "a used refresh token came again: session revoked");
                Err(Error::WrongRefreshToken)
            }
            Presented::Fresh(role) => {
                let next = RefreshToken::new(user, session);
                insert_token(&mut tx, &next, session, now, now.plus(self.ttl)).await?;
                let position = self.committed(session, route.commit(tx).await).await?;
                Ok(Opened {
                    access,
                    role,
                    refresh: next,
                    position,
                })
            }
        }
    }

    /// Ends a session. From here on its tokens are refused.
    pub(crate) async fn end(&self, access: Access, client: Client, now: Time) -> Result<(), Error> {
        let record = self.history.record(Event {
            user: access.user,
            what: What::Logout,
            session: Some(access.session),
            client,
            at: now,
        })?;
        let route = self.store.at(access.user);
        let mut tx = route.begin().await?;
        if revoke(&mut tx, access.session, now).await? {
            record.write(&mut tx).await?;
        }
        self.committed(access.session, route.commit(tx).await)
            .await?;
        Ok(())
    }

    /// Forgets a session that was changed, or may have been: a commit that reports an error may have taken place.
    async fn committed(
        &self,
        session: Id,
        commit: Result<Position, store::Error>,
    ) -> Result<Position, Error> {
        self.ended(&[session], commit).await
    }

    /// Forgets sessions that were ended by a commit, or may have been; what became of it.
    pub(crate) async fn ended(
        &self,
        ended: &[Id],
        commit: Result<Position, store::Error>,
    ) -> Result<Position, Error> {
        let position = commit.as_ref().unwrap_or(&Position::UNKNOWN);
        self.forget(ended, position).await;
        Ok(commit?)
    }

    /// Forgets sessions that ended elsewhere, at a position.
    pub(crate) async fn forget(&self, ended: &[Id], position: &Position) {
        for session in ended {
            self.cache.invalidate(session, mark(position)).await;
        }
    }

    /// Whether the session of a token is open, as far as its owner has seen.
    pub(crate) async fn is_live(
        &self,
        access: Access,
        seen_at: &Position,
        now: Time,
    ) -> Result<bool, Error> {
        // There was a session when the token was signed: that a replica knows none says nothing.
        let seen = seen(1, seen_at);
        let state = self.cache.get_seen(access.session, &seen).await?;
        Ok(state.is_some_and(|state| {
            !state.revoked && state.user == access.user && now < state.expires_at
        }))
    }

    /// Deletes sessions and tokens that have expired, a batch of each shard at a time; the first error of any shard.
    pub(crate) async fn sweep(&self, now: Time) -> Result<(), Error> {
        let mut outcome = Ok(());
        for shard in self.store.shards() {
            outcome = outcome.and(sweep(shard, now).await);
        }
        outcome
    }
}

/// Sessions that were ended, if the commit took place: how far a reader has to be to see it, or an error, which leaves that
/// open. [`Sessions::ended`] takes it.
pub(crate) type Ended = (Vec<Id>, Result<Position, store::Error>);

async fn sweep(shard: &Shard, now: Time) -> Result<(), Error> {
    let mut connection = shard.write().await?;
    // By their keys: for a subquery MariaDB reads, and locks, every row there is.
    let old = sql("SELECT hash FROM refresh_tokens WHERE expires_at < ? LIMIT 500");
    let old: Vec<(Vec<u8>,)> = old.bind(now).all(&mut connection).await?;
    if !old.is_empty() {
        let delete = sql("DELETE FROM refresh_tokens WHERE hash IN ");
        let hashes = old.into_iter().map(|(hash,)| hash);
        delete.list(hashes).run(&mut connection).await?;
    }
    let old = sql("SELECT id FROM sessions WHERE expires_at < ? LIMIT 500");
    let old: Vec<(Id,)> = old.bind(now).all(&mut connection).await?;
    if !old.is_empty() {
        let delete = sql("DELETE FROM sessions WHERE id IN ");
        let ids = old.into_iter().map(|(id,)| id);
        delete.list(ids).run(&mut connection).await?;
    }
    Ok(())
}

/// A session that was opened or kept open.
pub(crate) struct Opened {
    pub(crate) access: Access,
    /// The user's role, as the access token tells others.
    pub(crate) role: Role,
    pub(crate) refresh: RefreshToken,
    /// How far a reader has to be to see it.
    pub(crate) position: Position,
}

impl Source for Rows {
    type Key = Id;
    type Value = State;
    type Error = Error;
    const NAME: &'static str = "session";

    async fn load(&self, session: Id, need: Need) -> Result<Option<State>, Error> {
        self.0.state(session, need).await
    }

    fn version(state: &State) -> u64 {
        match state.revoked {
            true => REVOKED,
            false => 1,
        }
    }
}

/// The version of a session that was revoked; before, it is 1.
pub(crate) const REVOKED: u64 = 2;

impl SessionStates for StoredSessions {
    fn state(&self, session: Id, need: Need) -> BoxFuture<'_, Result<Option<State>, Error>> {
        Box::pin(async move {
            let select =
                "SELECT user_id, expires_at, revoked_at FROM sessions WHERE id = ? AND {fence}";
            let select = sql(select).bind(session);
            let mut connection = self.0.at(session).read(&freshness(need)).await?;
            let row: Option<(Id, Time, Option<Time>)> = select.optional(&mut connection).await?;
            Ok(row.map(|(user, expires_at, revoked_at)| State {
                user,
                expires_at,
                revoked: revoked_at.is_some(),
            }))
        })
    }
}

/// What a presented token turned out to be.
enum Presented {
    /// Unknown, expired, or of a session that has ended.
    Refused,
    /// Used before.
    Used,
    /// Valid, and by now marked as used.
    Fresh(Role),
}

/// Looks a token up, and marks it as used. A session whose token was fresh is prolonged: until then, by that client.
async fn exchange(
    tx: &mut Transaction,
    token: &RefreshToken,
    access: Access,
    (client, until): (Client, Time),
    now: Time,
) -> Result<Presented, Error> {
    let Access { user, session } = access;
    let select = "SELECT t.expires_at, t.used_at, s.revoked_at, u.role
         FROM refresh_tokens t JOIN sessions s ON s.id = t.session_id
           JOIN users u ON u.id = s.user_id
         WHERE t.hash = ? AND t.session_id = ? AND s.user_id = ?";
    type Row = (Time, Option<Time>, Option<Time>, String);
    let select = sql(select).bind(token.hash()).bind(session).bind(user);
    let row: Option<Row> = select.optional(&mut *tx).await?;
    let role = match row {
        Some((expires_at, used_at, None, role)) if now < expires_at => match used_at {
            Some(_) => return Ok(Presented::Used),
            None => Role::from_stored(&role),
        },
        _ => return Ok(Presented::Refused),
    };
    // First the session's row: who deletes the user has not come so far, or has ended it.
    let prolong = "UPDATE sessions SET expires_at = ?, last_used_at = ?, address = ?, agent = ?
         WHERE id = ? AND revoked_at IS NULL";
    let prolong = sql(prolong).bind(until).bind(now);
    let prolong = prolong.bind(client.address).bind(client.agent);
    if prolong.bind(session).run(&mut *tx).await? != 1 {
        return Ok(Presented::Refused);
    }
    let used = sql("UPDATE refresh_tokens SET used_at = ? WHERE hash = ? AND used_at IS NULL")
        .bind(now)
        .bind(token.hash())
        .run(tx)
        .await?;
    Ok(match used {
        1 => Presented::Fresh(role),
        _ => Presented::Used,
    })
}

async fn insert_token(
    tx: &mut Transaction,
    token: &RefreshToken,
    session: Id,
    now: Time,
    expires_at: Time,
) -> Result<(), Error> {
    sql("INSERT INTO refresh_tokens (hash, session_id, issued_at, expires_at) VALUES (?, ?, ?, ?)")
        .bind(token.hash())
        .bind(session)
        .bind(now)
        .bind(expires_at)
        .run(tx)
        .await?;
    Ok(())
}

/// Ends all sessions of a user, but not the one to keep; returns those that ended.
pub(crate) async fn revoke_all(
    tx: &mut Transaction,
    user: Id,
    keep: Option<Id>,
    now: Time,
) -> Result<Vec<Id>, Error> {
    let select = "SELECT id FROM sessions WHERE user_id = ? AND id <> ? AND revoked_at IS NULL";
    let keep = keep.map_or(-1, Id::as_i64); // no id is negative
    let select = sql(select).bind(user).bind(keep);
    let others: Vec<(Id,)> = select.all(&mut *tx).await?;
    for &(session,) in &others {
        revoke(tx, session, now).await?;
    }
    Ok(others.into_iter().map(|(session,)| session).collect())
}

/// Ends a session; `false` when it had ended.
async fn revoke(tx: &mut Transaction, session: Id, now: Time) -> Result<bool, Error> {
    let revoke = sql("UPDATE sessions SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL");
    let revoke = revoke.bind(now).bind(session);
    Ok(revoke.run(tx).await? == 1)
}
