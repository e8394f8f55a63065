//! Profiles: what is known about a user, read through the cache.

mod kept;

use std::sync::Arc;

use cache::{Cache, Limits, Need, Remote, Seen, Source};
use futures::FutureExt;
use serde::{Deserialize, Serialize};
use store::{Claimed, Freshness, Id, Position, Statement, Store, Time, sql};

use crate::Error;
use crate::client::Client;
use crate::contention::Turns;
use crate::fields::{self, DisplayName, Email, Phone};
use crate::freshness::{freshness, mark};
use crate::history::{Event, History, Record, What};
use crate::recovery;
use crate::tokens::Access;

pub(crate) use self::kept::{Answer, Kept};

/// What is known about a user. Who may see which part decides the API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Profile {
    pub(crate) id: Id,
    pub(crate) username: String,
    pub(crate) email: String,
    #[serde(default)]
    pub(crate) phone: Option<String>,
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
    /// A new phone number, or none from now on.
    pub(crate) phone: Option<Option<Phone>>,
}

/// Reads and changes profiles.
pub(crate) struct Profiles {
    store: Arc<Store>,
    cache: Cache<Rows>,
    history: Arc<History>,
}

/// Profiles, as the store has them.
pub(crate) struct Rows(Arc<Store>);

impl Profiles {
    pub(crate) fn new(
        store: Arc<Store>,
        limits: Limits,
        remote: Option<Arc<Remote>>,
        history: Arc<History>,
    ) -> Self {
        let rows = Rows(store.clone());
        Self {
            store,
            cache: Cache::new(rows, limits, remote),
            history,
        }
    }

    pub(crate) fn cache(&self) -> &Cache<Rows> {
        &self.cache
    }

    /// One profile, no older than what was seen of it.
    pub(crate) async fn get(&self, id: Id, seen: &Seen) -> Result<Option<Arc<Kept>>, Error> {
        Ok(self.cache.get_seen(id, seen).await?)
    }

    /// One profile as it is stored now, past the cache.
    pub(crate) async fn fresh(&self, id: Id) -> Result<Option<Arc<Kept>>, Error> {
        load(&self.store, id, &Freshness::Latest).await
    }

    /// Forgets a profile that changed elsewhere, at a position.
    pub(crate) async fn forget(&self, id: Id, position: &Position) {
        self.cache.invalidate(&id, mark(position)).await;
    }

    /// Many profiles; ids without one are left out.
    pub(crate) async fn many(&self, ids: Vec<Id>) -> Result<Vec<Arc<Kept>>, Error> {
        let found = self.cache.get_many(ids).await?;
        Ok(found.into_iter().map(|(_, profile)| profile).collect())
    }

    /// Changes the profile of who asks, if `fits` accepts it as it is, else [`Error::PreconditionFailed`]; how far a
    /// reader has to be to see it, or none when nothing was to be changed. [`Error::Contended`] when others are faster
    /// each time. Do not drop the future half-way: run it in a task of its own.
    pub(crate) async fn change(
        &self,
        by: (Access, &Client),
        change: &Change,
        fits: impl Fn(&Profile) -> bool,
        now: Time,
    ) -> Result<(Arc<Kept>, Option<Position>), Error> {
        let mut turns = Turns::default();
        loop {
            turns.next().await?;
            match self.try_change(by, change, &fits, now).await {
                // Somebody else was faster: look again.
                Err(Error::Contended) => {}
                decided => return decided,
            }
        }
    }

    async fn try_change(
        &self,
        by: (Access, &Client),
        change: &Change,
        fits: &impl Fn(&Profile) -> bool,
        now: Time,
    ) -> Result<(Arc<Kept>, Option<Position>), Error> {
        let id = by.0.user;
        let current = load(&self.store, id, &Freshness::Latest).await?;
        let current = current.ok_or(Error::NotFound)?;
        if !fits(&current) {
            return Err(Error::PreconditionFailed);
        }
        let changed = change.apply(&current, now);
        if changed == **current {
            // Whoever made it so may be unknown to the replicas; its version says what has to be seen.
            return Ok((current, None));
        }
        let written = self.write(by, &current, &changed, now).await;
        match &written {
            Ok(position) => self.forget(id, position).await,
            // Nothing was written, for certain.
            Err(Error::Taken | Error::Contended) => {}
            // A write that reports an error may have taken place.
            Err(_) => self.forget(id, &Position::UNKNOWN).await,
        }
        Ok((Arc::new(changed.into()), Some(written?)))
    }

    async fn write(
        &self,
        (access, client): (Access, &Client),
        old: &Profile,
        new: &Profile,
        now: Time,
    ) -> Result<Position, Error> {
        let event = (old.email != new.email).then(|| Event {
            user: new.id,
            what: What::EmailChange,
            session: Some(access.session),
            client: client.clone(),
            at: now,
        });
        let record = event.map(|event| self.history.record(event)).transpose()?;
        let (old_names, new_names) = (old.claims(), new.claims());
        let id = new.id;
        let claimed = only_in(&new_names, &old_names);
        let released = only_in(&old_names, &new_names);
        if claimed.is_empty() && released.is_empty() {
            let route = self.store.at(id);
            let mut tx = route.begin().await?;
            update(&mut tx, new.clone(), record).await?;
            return Ok(route.commit(tx).await?);
        }
        let moved = claimed.iter().any(|(kind, _)| *kind == fields::EMAIL);
        let new = new.clone();
        let claimed = self
            .store
            .claim_and_write(id, &claimed, &released, now, move |tx| {
                async move {
                    update(tx, new, record).await?;
                    if moved {
                        // The old address is no longer the user's.
                        recovery::void(tx, id).await?;
                    }
                    Ok::<_, Error>(())
                }
                .boxed()
            });
        match claimed.await? {
            Claimed::Won((), position) => Ok(position),
            Claimed::Taken => Err(Error::Taken),
            Claimed::Own => Err(Error::Contended),
        }
    }
}

impl Source for Rows {
    type Key = Id;
    type Value = Arc<Kept>;
    type Error = Error;
    const NAME: &'static str = "profile";

    async fn load(&self, id: Id, need: Need) -> Result<Option<Arc<Kept>>, Error> {
        load(&self.0, id, &freshness(need)).await
    }

    async fn load_many(&self, ids: Vec<Id>) -> Result<Vec<(Id, Arc<Kept>)>, Error> {
        let select = |ids: Vec<Id>| select().then("id IN ").list(ids).then(" AND {fence}");
        let rows = self.0.multi_get(&ids, &Freshness::Bounded, select);
        let rows: Vec<Row> = rows.await?;
        let rows = rows.into_iter().map(Profile::from);
        Ok(rows
            .map(|profile| (profile.id, Arc::new(profile.into())))
            .collect())
    }

    fn fits(id: &Id, profile: &Arc<Kept>) -> bool {
        profile.id == *id
    }

    fn version(profile: &Arc<Kept>) -> u64 {
        profile.version.try_into().unwrap_or(0)
    }
}

async fn load(store: &Store, id: Id, freshness: &Freshness) -> Result<Option<Arc<Kept>>, Error> {
    let mut connection = store.at(id).read(freshness).await?;
    let row = select().then("id = ? AND {fence}").bind(id);
    let row: Option<Row> = row.optional(&mut connection).await?;
    Ok(row.map(|row| Arc::new(Profile::from(row).into())))
}

impl Profile {
    /// The names that are this user's alone, each with its kind, in the order in which they are claimed.
    pub(crate) fn claims(&self) -> Vec<(&'static str, String)> {
        let phone = self.phone.clone().map(|phone| (fields::PHONE, phone));
        let names = [
            (fields::USERNAME, self.username.clone()),
            (fields::EMAIL, self.email.to_lowercase()),
        ];
        names.into_iter().chain(phone).collect()
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
        if let Some(phone) = &self.phone {
            changed.phone = phone.as_ref().map(|phone| phone.as_str().to_owned());
        }
        if changed != *current {
            changed.version += 1;
            // The clock of who changed it last may be ahead.
            changed.updated_at = now.max(current.updated_at);
        }
        changed
    }
}

/// The names of one list that are not in the other.
fn only_in<'n>(
    names: &'n [(&'static str, String)],
    others: &[(&'static str, String)],
) -> Vec<(&'static str, &'n str)> {
    let only = names.iter().filter(|name| !others.contains(name));
    only.map(|(kind, value)| (*kind, &**value)).collect()
}

/// Writes a profile's next version, and what is to be remembered of the change; [`Error::Contended`] if that is not
/// the next.
async fn update(
    tx: &mut store::Transaction,
    new: Profile,
    record: Option<Record>,
) -> Result<(), Error> {
    let updated = sql(
        "UPDATE users SET email = ?, phone = ?, display_name = ?, version = ?, updated_at = ?
         WHERE id = ? AND version = ?",
    )
    .bind(new.email)
    .bind(new.phone)
    .bind(new.display_name)
    .bind(new.version)
    .bind(new.updated_at)
    .bind(new.id)
    .bind(new.version - 1)
    .run(&mut *tx)
    .await?;
    if updated != 1 {
        return Err(Error::Contended);
    }
    match record {
        Some(record) => record.write(tx).await,
        None => Ok(()),
    }
}

type Row = (
    Id,
    String,
    String,
    Option<String>,
    Option<String>,
    i64,
    Time,
    Time,
);

impl From<Row> for Profile {
    fn from(row: Row) -> Self {
        let (id, username, email, phone, display_name, version, created_at, updated_at) = row;
        Self {
            id,
            username,
            email,
            phone,
            display_name,
            version,
            created_at,
            updated_at,
        }
    }
}

const fn select() -> Statement {
    sql(
        "SELECT id, username, email, phone, display_name, version, created_at, updated_at
         FROM users WHERE ",
    )
}
