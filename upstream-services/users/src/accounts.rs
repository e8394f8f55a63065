//! Accounts: registering, and finding out who somebody is by password.

use std::sync::Arc;

use futures::FutureExt;
use store::{Bucket, Claimed, Freshness, Id, Position, Store, Time, sql};

use crate::Error;
use crate::client::Client;
use crate::fields::{self, Email, Password, Username};
use crate::hashing::Hasher;
use crate::history::{Event, History, What};
use crate::profiles::Profile;
use crate::sessions;
use crate::tokens::Access;

/// Registers and authenticates.
pub(crate) struct Accounts {
    store: Arc<Store>,
    hasher: Arc<Hasher>,
    history: Arc<History>,
    /// The hash of a password nobody knows: who logs in to an account that does not exist pays
    /// for a hash all the same.
    dummy: String,
}

/// A registration, checked.
#[derive(Debug)]
pub(crate) struct Registration {
    pub(crate) username: Username,
    pub(crate) email: Email,
    pub(crate) password: Password,
}

/// Somebody whose password was right, when it had this version.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Authenticated {
    pub(crate) user: Id,
    pub(crate) password_version: i64,
}

impl Accounts {
    pub(crate) async fn open(
        store: Arc<Store>,
        hasher: Arc<Hasher>,
        history: Arc<History>,
    ) -> Result<Self, Error> {
        let nobody_knows = uuid::Uuid::new_v4().to_string();
        let dummy = hasher.hash(Password::presented(nobody_knows)).await?;
        Ok(Self {
            store,
            hasher,
            history,
            dummy,
        })
    }

    /// Makes an account. Do not drop the future half-way: run it in a task of its own.
    ///
    /// Hashes before it claims: a claim is held for milliseconds whatever the queue's length,
    /// and asking which names are taken costs as much as a registration.
    pub(crate) async fn register(&self, new: Registration, now: Time) -> Result<Profile, Error> {
        let hash = self.hasher.hash(new.password).await?;
        let id = self.store.new_id(Bucket::new(rand::random()), now)?;
        let profile = Profile {
            id,
            username: new.username.as_str().to_owned(),
            email: new.email.as_str().to_owned(),
            display_name: None,
            version: 1,
            created_at: now,
            updated_at: now,
        };
        let key = new.email.key();
        let names = [
            (fields::USERNAME, new.username.as_str()),
            (fields::EMAIL, &key),
        ];
        let row = profile.clone();
        // The time of the claims is now, not when the hash began to wait.
        let claimed = self
            .store
            .claim_and_write(id, &names, &[], Time::now(), move |tx| {
                insert(tx, row, hash).boxed()
            });
        match claimed.await? {
            Claimed::Won((), _) => Ok(profile),
            Claimed::Taken => Err(Error::Taken),
        }
    }

    /// Whose username (or e-mail) and password these are.
    ///
    /// One hash and one look for a row, whether the account exists or not.
    pub(crate) async fn authenticate(
        &self,
        name: &str,
        password: Password,
        client: &Client,
    ) -> Result<Authenticated, Error> {
        let owner = match fields::login_name(name) {
            Some((kind, value)) => {
                self.store
                    .owner_of((kind, &value), &Freshness::Latest)
                    .await?
            }
            None => None,
        };
        let nobody = Bucket::of_key(fields::USERNAME, name);
        let id = match owner {
            Some(owner) => owner,
            None => self.store.new_id(nobody, Time::now())?,
        };
        let stored = self.password_hash(id, name).await?;
        let hash = stored.as_ref().map_or(&self.dummy, |(hash, _)| hash);
        let verified = self.hasher.verify(password.clone(), hash).await?;
        let Some((stored, password_version)) = stored else {
            return Err(Error::WrongCredentials);
        };
        if !verified.matches {
            self.history.note(Event {
                user: id,
                what: What::LoginFailed,
                session: None,
                client: client.clone(),
                at: Time::now(),
            });
            return Err(Error::WrongCredentials);
        }
        if verified.outdated {
            self.rehash(id, password, &stored).await;
        }
        Ok(Authenticated {
            user: id,
            password_version,
        })
    }

    /// Replaces the password of a user who knows the current one, and ends all the user's
    /// sessions but the one that asks, in one transaction. Returns the ended sessions, and how far a reader has to be to see
    /// it. Do not drop the future half-way: run it in a task of its own.
    pub(crate) async fn change_password(
        &self,
        access: Access,
        current: Password,
        new: Password,
        client: Client,
        now: Time,
    ) -> Result<(Vec<Id>, Position), Error> {
        let route = self.store.at(access.user);
        let select = sql("SELECT password_hash FROM users WHERE id = ? AND {fence}");
        let select = select.bind(access.user);
        let stored: Option<(String,)> = select
            .optional(&mut route.read(&Freshness::Latest).await?)
            .await?;
        let (stored,) = stored.ok_or(Error::NotFound)?;
        if !self.hasher.verify(current, &stored).await?.matches {
            return Err(Error::WrongCredentials);
        }
        let hash = self.hasher.hash(new).await?;
        let record = self.history.record(Event {
            user: access.user,
            what: What::PasswordChange,
            session: Some(access.session),
            client,
            at: now,
        })?;
        let mut tx = route.begin().await?;
        let update = "UPDATE users SET password_hash = ?, password_version = password_version + 1
                      WHERE id = ? AND password_hash = ?";
        let update = sql(update).bind(hash).bind(access.user).bind(stored);
        if update.run(&mut tx).await? != 1 {
            // Changed by somebody else meanwhile: what was the current password no longer is.
            return Err(Error::WrongCredentials);
        }
        let ended = sessions::revoke_others(&mut tx, access, now).await?;
        record.write(&mut tx).await?;
        Ok((ended, route.commit(tx).await?))
    }

    /// The stored hash and the password's version, if the account has this name: a claim that is about to be released no
    /// longer logs in.
    async fn password_hash(&self, id: Id, name: &str) -> Result<Option<(String, i64)>, Error> {
        let select = "SELECT username, email, password_hash, password_version FROM users WHERE id = ? AND {fence}";
        let mut connection = self.store.at(id).read(&Freshness::Latest).await?;
        let row: Option<(String, String, String, i64)> =
            sql(select).bind(id).optional(&mut connection).await?;
        let name = name.to_lowercase();
        let named =
            row.filter(|(username, email, ..)| *username == name || email.to_lowercase() == name);
        Ok(named.map(|(_, _, hash, version)| (hash, version)))
    }

    /// Replaces a hash of old parameters, now that the password is at hand. Failing is no reason
    /// to refuse the login: the next one tries again.
    async fn rehash(&self, id: Id, password: Password, old: &str) {
        let replaced = async {
            let new = self.hasher.hash(password).await?;
            sql(
                "UPDATE users SET password_hash = ? WHERE id = ? AND password_hash = ? AND {fence}",
            )
            .bind(new)
            .bind(id)
            .bind(old)
            .run(&mut self.store.at(id).write().await?)
            .await?;
            Ok::<_, Error>(())
        };
        if let Err(error) = replaced.await {
            tracing::warn!(user = %id, %error, "a hash of old parameters stays");
        }
    }
}

async fn insert(tx: &mut store::Transaction, row: Profile, hash: String) -> Result<(), Error> {
    sql("INSERT INTO users
           (id, username, email, display_name, password_hash, version, created_at, updated_at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?)")
    .bind(row.id)
    .bind(row.username)
    .bind(row.email)
    .bind(row.display_name)
    .bind(hash)
    .bind(row.version)
    .bind(row.created_at)
    .bind(row.updated_at)
    .run(tx)
    .await?;
    Ok(())
}
