//! Sessions: what a login opens, refresh tokens keep open, and a logout ends.
//!
//! A refresh token works once; its use makes the next one of its family, the session. Presenting
//! a used token again means that two parties hold it, and nobody can say which is the thief: the
//! whole session ends (RFC 9700, section 4.14.2).

use std::sync::Arc;
use std::time::Duration;

use cache::Cache;
use store::{Freshness, Id, Store, Time, Transaction, sql};

use crate::Error;
use crate::accounts::Authenticated;
use crate::tokens::{Access, RefreshToken};

/// Opens, prolongs and ends sessions.
pub(crate) struct Sessions {
    store: Arc<Store>,
    cache: Arc<Cache<Id, Live>>,
    ttl: Duration,
    reuse: prometheus::IntCounter,
}

/// A session that is not revoked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Live {
    user: Id,
    expires_at: Time,
}

impl Sessions {
    pub(crate) const fn new(
        store: Arc<Store>,
        cache: Arc<Cache<Id, Live>>,
        ttl: Duration,
        reuse: prometheus::IntCounter,
    ) -> Self {
        Self {
            store,
            cache,
            ttl,
            reuse,
        }
    }

    /// Opens a session, unless the password has changed since it was compared: the change ended
    /// the sessions it saw, and this one would slip through.
    pub(crate) async fn open(
        &self,
        who: Authenticated,
        now: Time,
    ) -> Result<(Access, RefreshToken), Error> {
        let user = who.user;
        let session = self.store.new_id(user.bucket(), now)?;
        let token = RefreshToken::new(user, session);
        let expires_at = now.plus(self.ttl);
        let mut tx = self.store.at(user).begin().await?;
        let version = sql("SELECT password_version FROM users WHERE id = ?").bind(user);
        let version: Option<(i64,)> = version.optional(&mut tx).await?;
        if version != Some((who.password_version,)) {
            return Err(Error::WrongCredentials);
        }
        sql("INSERT INTO sessions (id, user_id, created_at, expires_at) VALUES (?, ?, ?, ?)")
            .bind(session)
            .bind(user)
            .bind(now)
            .bind(expires_at)
            .run(&mut tx)
            .await?;
        insert_token(&mut tx, &token, session, now, expires_at).await?;
        tx.commit().await?;
        Ok((Access { user, session }, token))
    }

    /// Exchanges a refresh token for the next one.
    pub(crate) async fn refresh(
        &self,
        token: &RefreshToken,
        now: Time,
    ) -> Result<(Access, RefreshToken), Error> {
        let (Some(user), Some(session)) = (token.user(), token.session()) else {
            return Err(Error::WrongRefreshToken);
        };
        let mut tx = self.store.at(user).begin().await?;
        match look_up(&mut tx, token, user, session, now).await? {
            Presented::Refused => Err(Error::WrongRefreshToken),
            Presented::Used => {
                revoke(&mut tx, session, now).await?;
                tx.commit().await?;
                self.cache.invalidate(&session).await;
                self.reuse.inc();
                tracing::warn!(%user, %session, "a used refresh token came again: session revoked");
                Err(Error::WrongRefreshToken)
            }
            Presented::Fresh => {
                let next = RefreshToken::new(user, session);
                let expires_at = now.plus(self.ttl);
                insert_token(&mut tx, &next, session, now, expires_at).await?;
                sql("UPDATE sessions SET expires_at = ? WHERE id = ?")
                    .bind(expires_at)
                    .bind(session)
                    .run(&mut tx)
                    .await?;
                tx.commit().await?;
                self.cache.invalidate(&session).await;
                Ok((Access { user, session }, next))
            }
        }
    }

    /// Ends a session. From here on its tokens are refused.
    pub(crate) async fn end(&self, access: Access, now: Time) -> Result<(), Error> {
        let mut tx = self.store.at(access.user).begin().await?;
        revoke(&mut tx, access.session, now).await?;
        tx.commit().await?;
        self.cache.invalidate(&access.session).await;
        Ok(())
    }

    /// Forgets sessions that ended elsewhere.
    pub(crate) async fn forget(&self, ended: &[Id]) {
        for session in ended {
            self.cache.invalidate(session).await;
        }
    }

    /// Whether the session of a token is open.
    pub(crate) async fn is_live(&self, access: Access, now: Time) -> Result<bool, Error> {
        let live = self.cache.get_or_load(access.session, self.load(access));
        let live = live.await?;
        Ok(live.is_some_and(|live| live.user == access.user && now < live.expires_at))
    }

    /// Deletes sessions and tokens that have expired, a batch of each shard at a time.
    pub(crate) async fn sweep(&self, now: Time) -> Result<(), Error> {
        for shard in self.store.shards() {
            for delete in [
                // MariaDB and MySQL take a limit in a derived table only.
                "DELETE FROM refresh_tokens WHERE hash IN (SELECT hash FROM
                   (SELECT hash FROM refresh_tokens WHERE expires_at < ? LIMIT 1000) old)",
                "DELETE FROM sessions WHERE id IN (SELECT id FROM
                   (SELECT id FROM sessions WHERE expires_at < ? LIMIT 1000) old)",
            ] {
                sql(delete).bind(now).run(&mut shard.write().await?).await?;
            }
        }
        Ok(())
    }

    async fn load(&self, access: Access) -> Result<Option<Live>, Error> {
        let select = "SELECT user_id, expires_at FROM sessions
             WHERE id = ? AND revoked_at IS NULL AND {fence}";
        let select = sql(select).bind(access.session);
        let mut connection = self
            .store
            .at(access.session)
            .read(&Freshness::Latest)
            .await?;
        let row: Option<(Id, Time)> = select.optional(&mut connection).await?;
        Ok(row.map(|(user, expires_at)| Live { user, expires_at }))
    }
}

/// What a presented token turned out to be.
enum Presented {
    /// Unknown, expired, or of a session that has ended.
    Refused,
    /// Used before.
    Used,
    /// Valid, and by now marked as used.
    Fresh,
}

async fn look_up(
    tx: &mut Transaction,
    token: &RefreshToken,
    user: Id,
    session: Id,
    now: Time,
) -> Result<Presented, Error> {
    let select = "SELECT t.expires_at, s.revoked_at
         FROM refresh_tokens t JOIN sessions s ON s.id = t.session_id
         WHERE t.hash = ? AND t.session_id = ? AND s.user_id = ?";
    let select = sql(select).bind(token.hash()).bind(session).bind(user);
    let row: Option<(Time, Option<Time>)> = select.optional(&mut *tx).await?;
    match row {
        Some((expires_at, None)) if now < expires_at => {}
        _ => return Ok(Presented::Refused),
    }
    let used = sql("UPDATE refresh_tokens SET used_at = ? WHERE hash = ? AND used_at IS NULL")
        .bind(now)
        .bind(token.hash())
        .run(tx)
        .await?;
    Ok(match used {
        1 => Presented::Fresh,
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

/// Ends all sessions of a user but the one that asks; returns them.
pub(crate) async fn revoke_others(
    tx: &mut Transaction,
    asking: Access,
    now: Time,
) -> Result<Vec<Id>, Error> {
    let select = "SELECT id FROM sessions WHERE user_id = ? AND id <> ? AND revoked_at IS NULL";
    let select = sql(select).bind(asking.user).bind(asking.session);
    let others: Vec<(Id,)> = select.all(&mut *tx).await?;
    for &(session,) in &others {
        revoke(tx, session, now).await?;
    }
    Ok(others.into_iter().map(|(session,)| session).collect())
}

async fn revoke(tx: &mut Transaction, session: Id, now: Time) -> Result<(), Error> {
    sql("UPDATE sessions SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL")
        .bind(now)
        .bind(session)
        .run(tx)
        .await?;
    Ok(())
}
