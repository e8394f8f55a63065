//! Profiles: what is known about a user, read through the cache.

use std::sync::Arc;

use cache::Cache;
use futures::FutureExt;
use store::{Claimed, Freshness, Id, Statement, Store, Time, sql};

use crate::Error;
use crate::fields::{self, DisplayName, Email};

/// What is known about a user. Who may see which part decides the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Profile {
    pub(crate) id: Id,
    pub(crate) username: String,
    pub(crate) email: String,
    pub(crate) display_name: Option<String>,
    /// Grows with every change.
    pub(crate) version: i64,
    pub(crate) created_at: Time,
    pub(crate) updated_at: Time,
}

/// A change: what is `None` stays.
#[derive(Debug, Default)]
pub(crate) struct Change {
    /// A new name to show, or none from now on.
    pub(crate) display_name: Option<Option<DisplayName>>,
    pub(crate) email: Option<Email>,
}

/// Reads and changes profiles.
pub(crate) struct Profiles {
    store: Arc<Store>,
    cache: Arc<Cache<Id, Arc<Profile>>>,
}

impl Profiles {
    pub(crate) const fn new(store: Arc<Store>, cache: Arc<Cache<Id, Arc<Profile>>>) -> Self {
        Self { store, cache }
    }

    /// One profile.
    pub(crate) async fn get(&self, id: Id) -> Result<Option<Arc<Profile>>, Error> {
        Ok(self.cache.get_or_load(id, self.load(id)).await?)
    }

    /// Many profiles; ids without one are left out.
    pub(crate) async fn many(&self, ids: Vec<Id>) -> Result<Vec<Arc<Profile>>, Error> {
        let load = async |missing: Vec<Id>| {
            let select = |ids: Vec<Id>| select().then("id IN ").list(ids).then(" AND {fence}");
            let rows = self.store.multi_get(&missing, &Freshness::Latest, select);
            let rows: Vec<Row> = rows.await?;
            let rows = rows.into_iter().map(Profile::from);
            let keyed = rows.map(|profile| (profile.id, Arc::new(profile)));
            Ok::<_, Error>(keyed.collect())
        };
        let found = self.cache.get_or_load_many(ids, load).await?;
        Ok(found.into_iter().map(|(_, profile)| profile).collect())
    }

    /// Changes a profile that `fits` accepts, else [`Error::PreconditionFailed`]. Do not drop
    /// the future half-way: run it in a task of its own.
    pub(crate) async fn change(
        &self,
        id: Id,
        change: &Change,
        fits: impl Fn(&Profile) -> bool,
        now: Time,
    ) -> Result<Arc<Profile>, Error> {
        for _ in 0..TRIES {
            let current = self.load(id).await?.ok_or(Error::NotFound)?;
            if !fits(&current) {
                return Err(Error::PreconditionFailed);
            }
            let changed = change.apply(&current, now);
            if changed == *current {
                return Ok(current);
            }
            let written = self.write(&current, &changed, now).await;
            // Also after an error: a write that reports one may have taken place.
            self.cache.invalidate(&id).await;
            match written {
                // Somebody else was faster: look again.
                Err(Error::PreconditionFailed) => {}
                Err(error) => return Err(error),
                Ok(()) => return Ok(Arc::new(changed)),
            }
        }
        Err(Error::PreconditionFailed)
    }

    async fn load(&self, id: Id) -> Result<Option<Arc<Profile>>, Error> {
        let mut connection = self.store.at(id).read(&Freshness::Latest).await?;
        let row = select().then("id = ? AND {fence}").bind(id);
        let row: Option<Row> = row.optional(&mut connection).await?;
        Ok(row.map(|row| Arc::new(Profile::from(row))))
    }

    async fn write(&self, old: &Profile, new: &Profile, now: Time) -> Result<(), Error> {
        let (old_key, new_key) = (old.email.to_lowercase(), new.email.to_lowercase());
        let id = new.id;
        if old_key == new_key {
            let mut tx = self.store.at(id).begin().await?;
            update(&mut tx, new.clone()).await?;
            return Ok(tx.commit().await?);
        }
        let (claimed, released) = ([(fields::EMAIL, &*new_key)], [(fields::EMAIL, &*old_key)]);
        let new = new.clone();
        let claimed = self
            .store
            .claim_and_write(id, &claimed, &released, now, move |tx| {
                update(tx, new).boxed()
            });
        match claimed.await? {
            Claimed::Won(()) => Ok(()),
            Claimed::Taken => Err(Error::Taken),
        }
    }
}

impl Change {
    fn apply(&self, current: &Profile, now: Time) -> Profile {
        let mut changed = current.clone();
        if let Some(name) = &self.display_name {
            changed.display_name = name.clone().map(DisplayName::into_string);
        }
        if let Some(email) = &self.email {
            changed.email = email.as_str().to_owned();
        }
        if changed != *current {
            changed.version += 1;
            changed.updated_at = now;
        }
        changed
    }
}

/// Writes a profile's next version; [`Error::PreconditionFailed`] if that is not the next.
async fn update(tx: &mut store::Transaction, new: Profile) -> Result<(), Error> {
    let updated = sql(
        "UPDATE users SET email = ?, display_name = ?, version = ?, updated_at = ?
         WHERE id = ? AND version = ?",
    )
    .bind(new.email)
    .bind(new.display_name)
    .bind(new.version)
    .bind(new.updated_at)
    .bind(new.id)
    .bind(new.version - 1)
    .run(tx)
    .await?;
    match updated {
        1 => Ok(()),
        _ => Err(Error::PreconditionFailed),
    }
}

type Row = (Id, String, String, Option<String>, i64, Time, Time);

impl From<Row> for Profile {
    fn from(row: Row) -> Self {
        let (id, username, email, display_name, version, created_at, updated_at) = row;
        Self {
            id,
            username,
            email,
            display_name,
            version,
            created_at,
            updated_at,
        }
    }
}

const fn select() -> Statement {
    sql(
        "SELECT id, username, email, display_name, version, created_at, updated_at
         FROM users WHERE ",
    )
}

/// How often a change without a condition is tried against other changes of the same profile.
const TRIES: u32 = 5;
