//! What administrators do: find users, and keep them out.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use store::{Freshness, Id, Store, Time, sql};

use crate::Error;
use crate::accounts::{Accounts, Registration};
use crate::config::BootstrapConfig;
use crate::fields::{Email, Password, Username};
use crate::recovery;
use crate::sessions::{self, Ended};

/// What a user may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    /// What is the user's own.
    #[default]
    User,
    /// Look at others, and keep them out.
    Admin,
}

impl Role {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Admin => "admin",
        }
    }

    /// Reads what is stored; what this program does not know may do nothing special.
    pub(crate) fn from_stored(text: &str) -> Self {
        match text == Self::Admin.as_str() {
            true => Self::Admin,
            false => Self::User,
        }
    }
}

/// What administrators see of a user.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) id: Id,
    pub(crate) username: String,
    pub(crate) email: String,
    pub(crate) phone: Option<String>,
    pub(crate) display_name: Option<String>,
    pub(crate) role: Role,
    pub(crate) totp: bool,
    pub(crate) created_at: Time,
    pub(crate) disabled_at: Option<Time>,
}

/// Finds users and keeps them out.
pub(crate) struct Admins {
    store: Arc<Store>,
}

impl Admins {
    pub(crate) const fn new(store: Arc<Store>) -> Self {
        Self { store }
    }

    /// Whether a user is an administrator now, whatever a token says.
    pub(crate) async fn is_admin(&self, user: Id) -> Result<bool, Error> {
        let select = "SELECT role FROM users WHERE id = ? AND disabled_at IS NULL AND {fence}";
        let mut connection = self.store.at(user).read(&Freshness::Latest).await?;
        let row: Option<(String,)> = sql(select).bind(user).optional(&mut connection).await?;
        Ok(row.is_some_and(|(role,)| Role::from_stored(&role) == Role::Admin))
    }

    /// The user with a name: the kind of claim, and its value.
    pub(crate) async fn find(&self, name: (&str, &str)) -> Result<Option<Found>, Error> {
        match self.store.owner_of(name, &Freshness::Latest).await? {
            Some(owner) => self.load(owner).await,
            None => Ok(None),
        }
    }

    /// Ends a user's sessions and logins until [`Admins::enable`]. Do not drop the future half-way: run it in a task of its own.
    pub(crate) async fn disable(&self, user: Id, now: Time) -> Result<Ended, Error> {
        let route = self.store.at(user);
        let mut tx = route.begin().await?;
        let update = "UPDATE users SET disabled_at = COALESCE(disabled_at, ?) WHERE id = ?";
        if sql(update).bind(now).bind(user).run(&mut tx).await? == 0 {
            return Err(Error::NotFound);
        }
        let ended = sessions::revoke_all(&mut tx, user, None, now).await?;
        recovery::void(&mut tx, user).await?;
        Ok((ended, route.commit(tx).await))
    }

    /// Lets a user in again.
    pub(crate) async fn enable(&self, user: Id) -> Result<(), Error> {
        let update = "UPDATE users SET disabled_at = NULL WHERE id = ? AND {fence}";
        let mut connection = self.store.at(user).write().await?;
        match sql(update).bind(user).run(&mut connection).await? {
            0 => Err(Error::NotFound),
            _ => Ok(()),
        }
    }

    /// Makes the first administrator, unless there is one.
    pub(crate) async fn bootstrap(
        &self,
        accounts: &Accounts,
        wanted: &BootstrapConfig,
        now: Time,
    ) -> Result<(), Error> {
        let new = Registration {
            username: Username::parse(&wanted.username)?,
            email: Email::parse(&wanted.email)?,
            phone: None,
            password: Password::parse(wanted.password.expose().to_owned())?,
            role: Role::Admin,
        };
        let name = (crate::fields::USERNAME, new.username.as_str());
        if let Some(found) = self.find(name).await? {
            if found.role != Role::Admin {
                tracing::error!(user = %found.id, "`bootstrap.username` belongs to a user who is no administrator");
            }
            return Ok(());
        }
        // Only where the name is gone or was never there: this looks at every user.
        for shard in self.store.shards() {
            let select =
                sql("SELECT COUNT(*) FROM users WHERE role = ?").bind(Role::Admin.as_str());
            let mut connection = shard.read(&Freshness::Latest).await?;
            if select.value::<i64>(&mut connection).await? > 0 {
                return Ok(());
            }
        }
        match accounts.register(new, now).await {
            Ok(made) => tracing::info!(user = %made.id, "made the first administrator"),
            // Another process was faster; or the e-mail address is another user's.
            Err(Error::Taken) => {
                tracing::warn!("the first administrator was not made: a name is taken")
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    async fn load(&self, user: Id) -> Result<Option<Found>, Error> {
        let select = "SELECT u.username, u.email, u.phone, u.display_name, u.role, t.confirmed_at,
                    u.created_at, u.disabled_at
             FROM users u LEFT JOIN totp t ON t.user_id = u.id WHERE u.id = ? AND {fence}";
        let mut connection = self.store.at(user).read(&Freshness::Latest).await?;
        let row: Option<Row> = sql(select).bind(user).optional(&mut connection).await?;
        Ok(row.map(|row| Found::new(user, row)))
    }
}

type Row = (
    String,
    String,
    Option<String>,
    Option<String>,
    String,
    Option<Time>,
    Time,
    Option<Time>,
);

impl Found {
    fn new(id: Id, row: Row) -> Self {
        let (username, email, phone, display_name, role, confirmed_at, created_at, disabled_at) =
            row;
        Self {
            id,
            username,
            email,
            phone,
            display_name,
            role: Role::from_stored(&role),
            totp: confirmed_at.is_some(),
            created_at,
            disabled_at,
        }
    }
}
