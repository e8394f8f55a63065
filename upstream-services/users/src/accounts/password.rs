//! A user's own password: proving it again, and changing it.

use std::net::IpAddr;

use store::{Freshness, Id, Time, sql};

use super::Accounts;
use crate::Error;
use crate::client::Client;
use crate::fields::Password;
use crate::hashing::Lane;
use crate::history::{Event, What};
use crate::lockout;
use crate::recovery;
use crate::sessions::{self, Ended};
use crate::tokens::{Access, RecoveryToken};

/// A user who is logged in, and asks for something that needs the password again.
#[derive(Clone, Debug)]
pub(crate) struct Asking {
    pub(crate) access: Access,
    pub(crate) password: Password,
    /// The client's address.
    pub(crate) from: Option<IpAddr>,
}

impl Accounts {
    /// The stored hash of the user's password, if that is what was presented. Wrong ones count: who has
    /// only a stolen access token does not guess on.
    pub(crate) async fn prove(&self, asking: &Asking, now: Time) -> Result<String, Error> {
        let user = asking.access.user;
        let who = lockout::of_user(user);
        let guess = self.lockout.admit(&who, asking.from, now).await?;
        match self.verify_own(asking).await? {
            Some(stored) => {
                guess.right(asking.from, std::iter::empty()).await;
                Ok(stored)
            }
            None => {
                guess.wrong().await;
                Err(Error::WrongCredentials)
            }
        }
    }

    async fn verify_own(&self, asking: &Asking) -> Result<Option<String>, Error> {
        let user = asking.access.user;
        let select = sql("SELECT password_hash FROM users WHERE id = ? AND {fence}").bind(user);
        let mut connection = self.store.at(user).read(&Freshness::Latest).await?;
        let stored: Option<(String,)> = select.optional(&mut connection).await?;
        drop(connection);
        let (stored,) = stored.ok_or(Error::NotFound)?;
        let verified = self.hasher.verify(asking.password.clone(), &stored).await?;
        Ok(verified.matches.then_some(stored))
    }

    /// Replaces the password of a user who knows the current one, and ends all the user's
    /// sessions but the one that asks, in one transaction. Do not drop the future half-way: run it in a task of its own.
    pub(crate) async fn change_password(
        &self,
        asking: Asking,
        new: Password,
        client: Client,
        now: Time,
    ) -> Result<Ended, Error> {
        let stored = self.prove(&asking, now).await?;
        let access = asking.access;
        let hash = self.hasher.hash(Lane::Login, new).await?;
        let record = self.history.record(Event {
            user: access.user,
            what: What::PasswordChange,
            session: Some(access.session),
            client,
            at: now,
        })?;
        let route = self.store.at(access.user);
        let mut tx = route.begin().await?;
        let update = "UPDATE users SET password_hash = ?, password_version = password_version + 1
                      WHERE id = ? AND password_hash = ?";
        let update = sql(update).bind(hash).bind(access.user).bind(stored);
        if update.run(&mut tx).await? != 1 {
            // Changed by somebody else meanwhile: what was the current password no longer is.
            return Err(Error::WrongCredentials);
        }
        let ended = sessions::revoke_all(&mut tx, access.user, Some(access.session), now).await?;
        recovery::void(&mut tx, access.user).await?;
        record.write(&mut tx).await?;
        Ok((ended, route.commit(tx).await))
    }

    /// Sets the password of a user who presents a recovery token, ends all the user's sessions, and
    /// forgets the wrong passwords that were tried. Do not drop the future half-way: run it in a task of its own.
    pub(crate) async fn recover(
        &self,
        user: Id,
        token: &RecoveryToken,
        new: Password,
        (from, client): (Option<IpAddr>, Client),
    ) -> Result<Ended, Error> {
        let hash = self.hasher.hash(Lane::Login, new).await?;
        let now = Time::now();
        let record = self.history.record(Event {
            user,
            what: What::PasswordChange,
            session: None,
            client,
            at: now,
        })?;
        let names = self.names(user).await?;
        let route = self.store.at(user);
        let mut tx = route.begin().await?;
        if !recovery::redeem(&mut tx, token, user, now).await? {
            return Err(Error::WrongRecoveryToken);
        }
        let update = "UPDATE users SET password_hash = ?, password_version = password_version + 1
                      WHERE id = ?";
        let update = sql(update).bind(hash).bind(user);
        if update.run(&mut tx).await? != 1 {
            return Err(Error::WrongRecoveryToken);
        }
        let ended = sessions::revoke_all(&mut tx, user, None, now).await?;
        record.write(&mut tx).await?;
        let committed = route.commit(tx).await;
        if committed.is_ok() {
            for name in names {
                self.lockout.clear(&name, from).await;
            }
            self.lockout.clear(&lockout::of_user(user), from).await;
        }
        Ok((ended, committed))
    }
}
