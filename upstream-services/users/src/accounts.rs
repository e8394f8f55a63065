//! Accounts: registering, and finding out who somebody is by password.

use std::sync::Arc;

use futures::FutureExt;
use serde::{Deserialize, Serialize};
use store::{Bucket, Claimed, Id, Store, Time, sql};

use crate::Error;
use crate::admins::Role;
use crate::factors::Factors;
use crate::fields::{Email, Password, Phone, Username};
use crate::hashing::{Hasher, Lane};
use crate::history::History;
use crate::lockout::Gate;
use crate::profiles::Profile;

mod login;
mod password;

pub(crate) use login::{Code, Login};
pub(crate) use password::Asking;

/// Registers and authenticates.
pub(crate) struct Accounts {
    store: Arc<Store>,
    hasher: Arc<Hasher>,
    history: Arc<History>,
    lockout: Gate,
    factors: Arc<Factors>,
    /// The hash of a password nobody knows: who logs in to an account that does not exist pays
    /// for a hash all the same.
    dummy: String,
}

/// A registration, checked.
#[derive(Debug)]
pub(crate) struct Registration {
    pub(crate) username: Username,
    pub(crate) email: Email,
    pub(crate) phone: Option<Phone>,
    pub(crate) password: Password,
    pub(crate) role: Role,
}

/// Somebody whose password was right, when it had this version.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Authenticated {
    pub(crate) user: Id,
    pub(crate) password_version: i64,
}

impl Accounts {
    pub(crate) async fn open(
        store: Arc<Store>,
        hasher: Arc<Hasher>,
        history: Arc<History>,
        lockout: Gate,
        factors: Arc<Factors>,
    ) -> Result<Self, Error> {
        let nobody_knows = Password::presented(uuid::Uuid::new_v4().to_string());
        let dummy = match hasher.hashes() {
            true => hasher.hash(Lane::Login, nobody_knows).await?,
            // Where nothing is hashed nobody logs in.
            false => String::new(),
        };
        Ok(Self {
            store,
            hasher,
            history,
            lockout,
            factors,
            dummy,
        })
    }

    /// Makes an account. Do not drop the future half-way: run it in a task of its own.
    ///
    /// Hashes before it claims: a claim is held for milliseconds whatever the queue's length,
    /// and asking which names are taken costs as much as a registration.
    pub(crate) async fn register(&self, new: Registration, now: Time) -> Result<Profile, Error> {
        let hash = self.hasher.hash(Lane::Register, new.password).await?;
        let id = self.store.new_id(Bucket::new(rand::random()), now)?;
        let profile = Profile {
            id,
            username: new.username.as_str().to_owned(),
            email: new.email.as_str().to_owned(),
            phone: new.phone.map(|phone| phone.as_str().to_owned()),
            display_name: None,
            version: 1,
            created_at: now,
            updated_at: now,
        };
        let names = profile.claims();
        let names: Vec<_> = names.iter().map(|(kind, name)| (*kind, &**name)).collect();
        let row = profile.clone();
        // The time of the claims is now, not when the hash began to wait.
        let claimed = self
            .store
            .claim_and_write(id, &names, &[], Time::now(), move |tx| {
                insert(tx, row, hash, new.role).boxed()
            });
        match claimed.await? {
            Claimed::Won((), _) => Ok(profile),
            // The owner is new: nobody else writes for it.
            Claimed::Taken | Claimed::Own => Err(Error::Taken),
        }
    }
}

async fn insert(
    tx: &mut store::Transaction,
    row: Profile,
    hash: String,
    role: Role,
) -> Result<(), Error> {
    sql("INSERT INTO users
           (id, username, email, phone, display_name, password_hash, role, version, created_at,
            updated_at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
    .bind(row.id)
    .bind(row.username)
    .bind(row.email)
    .bind(row.phone)
    .bind(row.display_name)
    .bind(hash)
    .bind(role.as_str())
    .bind(row.version)
    .bind(row.created_at)
    .bind(row.updated_at)
    .run(tx)
    .await?;
    Ok(())
}
