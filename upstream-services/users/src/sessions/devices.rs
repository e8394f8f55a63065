//! A user's open sessions, one for each place where somebody has logged in, and ending one from another.

use store::{Freshness, Id, Position, Time, sql};

use super::{Sessions, revoke};
use crate::Error;
use crate::client::Client;
use crate::history::{Event, What};
use crate::tokens::Access;

/// An open session.
#[derive(Clone, Debug)]
pub(crate) struct Device {
    pub(crate) session: Id,
    pub(crate) created_at: Time,
    /// When its tokens were last exchanged.
    pub(crate) last_used_at: Time,
    /// Who was last seen with it.
    pub(crate) client: Client,
}

impl Sessions {
    /// The open sessions of a user, those used last first.
    pub(crate) async fn devices(
        &self,
        user: Id,
        now: Time,
        freshness: &Freshness,
    ) -> Result<Vec<Device>, Error> {
        type Row = (Id, Time, Time, Option<String>, Option<String>);
        let select = "SELECT id, created_at, COALESCE(last_used_at, created_at), address, agent
             FROM sessions WHERE user_id = ? AND revoked_at IS NULL AND expires_at > ? AND {fence}
             ORDER BY 3 DESC, id DESC LIMIT ?";
        let select = sql(select).bind(user).bind(now).bind(MOST);
        let mut connection = self.store.at(user).read(freshness).await?;
        let rows: Vec<Row> = select.all(&mut connection).await?;
        let device = |(session, created_at, last_used_at, address, agent)| Device {
            session,
            created_at,
            last_used_at,
            client: Client { address, agent },
        };
        Ok(rows.into_iter().map(device).collect())
    }

    /// Ends one of the user's sessions; [`Error::NoSession`] when it is another's, or not open. How far a reader has to
    /// be to see it. Do not drop the future half-way: run it in a task of its own.
    pub(crate) async fn end_device(
        &self,
        access: Access,
        session: Id,
        client: Client,
        now: Time,
    ) -> Result<Position, Error> {
        let record = self.history.record(Event {
            user: access.user,
            what: match session == access.session {
                true => What::Logout,
                false => What::SessionRevoked,
            },
            session: Some(session),
            client,
            at: now,
        })?;
        let route = self.store.at(access.user);
        let mut tx = route.begin().await?;
        let own = sql("SELECT id FROM sessions WHERE id = ? AND user_id = ? AND expires_at > ?");
        let own = own.bind(session).bind(access.user).bind(now);
        let own: Option<(Id,)> = own.optional(&mut tx).await?;
        if own.is_none() || !revoke(&mut tx, session, now).await? {
            return Err(Error::NoSession);
        }
        record.write(&mut tx).await?;
        self.committed(session, route.commit(tx).await).await
    }
}

/// The most sessions that are shown: who logs in and never out makes any number of them.
const MOST: i64 = 100;
