//! Finding out who somebody is by name and password.

use std::net::IpAddr;

use store::{Bucket, Freshness, Id, Time, sql};

use super::{Accounts, Authenticated};
use crate::Error;
use crate::client::Client;
use crate::factors::Factor;
use crate::fields::{self, Password};
use crate::hashing::Lane;
use crate::history::{Event, What};
use crate::lockout;

/// Somebody who wants in.
#[derive(Clone, Debug)]
pub(crate) struct Login {
    /// A username, an e-mail address or a phone number.
    pub(crate) name: String,
    pub(crate) password: Password,
    /// A code of the second factor.
    pub(crate) code: Option<Code>,
    /// The client's address.
    pub(crate) from: Option<IpAddr>,
    /// The client, for the history.
    pub(crate) client: Client,
}

/// A code of a second factor as it was typed; it appears in no log.
#[derive(Clone)]
pub(crate) struct Code(pub(crate) String);

impl std::fmt::Debug for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Code")
    }
}

/// What an account is, to who logs in to it.
struct Account {
    id: Id,
    names: Vec<String>,
    hash: String,
    password_version: i64,
    factor: Option<Factor>,
    disabled: bool,
}

type Row = (
    String,
    String,
    Option<String>,
    String,
    i64,
    Option<Vec<u8>>,
    Option<i64>,
    Option<Time>,
);

impl Account {
    fn new(id: Id, row: Row) -> Self {
        let (username, email, phone, hash, password_version, sealed, last_step, disabled_at) = row;
        let names = [username, email.to_lowercase()].into_iter().chain(phone);
        Self {
            id,
            names: names.collect(),
            hash,
            password_version,
            factor: sealed
                .zip(last_step)
                .map(|(sealed, last_step)| Factor { sealed, last_step }),
            disabled: disabled_at.is_some(),
        }
    }
}

impl Accounts {
    /// Whose name and password these are.
    ///
    /// One hash and one look for a row, whether the account exists or not; neither while wrong
    /// guesses have locked the name.
    pub(crate) async fn authenticate(
        &self,
        login: Login,
        now: Time,
    ) -> Result<Authenticated, Error> {
        let name = fields::login_name(&login.name);
        let who = match &name {
            Some((_, value)) => value,
            None => &login.name,
        };
        let guess = self.lockout.admit(who, login.from, now).await?;
        let account = match self.compare(name, &login).await {
            Ok(Some(account)) => {
                self.ask_factor(account, login.code, login.client, now)
                    .await
            }
            Ok(None) => Err(Error::WrongCredentials),
            Err(error) => Err(error),
        };
        let account = match account {
            Ok(account) => account,
            Err(error) => {
                if matches!(error, Error::WrongCredentials | Error::WrongCode) {
                    guess.wrong().await;
                }
                return Err(error);
            }
        };
        let names = account.names.iter().map(String::as_str);
        guess.right(login.from, names).await;
        Ok(Authenticated {
            user: account.id,
            password_version: account.password_version,
        })
    }

    /// Uses up a code, where the account needs one. Only who gets so far learns that it is disabled.
    async fn ask_factor(
        &self,
        account: Account,
        code: Option<Code>,
        client: Client,
        now: Time,
    ) -> Result<Account, Error> {
        if let Some(factor) = &account.factor {
            let Code(code) = code.ok_or(Error::TotpRequired)?;
            let redeemed = self.factors.redeem(account.id, factor, code.trim(), now);
            if !redeemed.await? {
                self.note_failed(account.id, client);
                return Err(Error::WrongCode);
            }
        }
        if account.disabled {
            return Err(Error::AccountDisabled);
        }
        Ok(account)
    }

    /// Has the history tell the user that somebody tried.
    fn note_failed(&self, user: Id, client: Client) {
        self.history.note(Event {
            user,
            what: What::LoginFailed,
            session: None,
            client,
            at: Time::now(),
        });
    }

    /// Turns a user's second factor on. Wrong codes count like wrong passwords.
    pub(crate) async fn confirm_totp(
        &self,
        user: Id,
        from: Option<IpAddr>,
        code: &str,
        now: Time,
    ) -> Result<Vec<String>, Error> {
        let who = lockout::of_user(user);
        let guess = self.lockout.admit(&who, from, now).await?;
        let confirmed = self.factors.confirm(user, code, now).await;
        if matches!(confirmed, Err(Error::WrongCode)) {
            guess.wrong().await;
        }
        confirmed
    }

    /// The account, if there is one and this is its password.
    async fn compare(
        &self,
        name: Option<(&str, String)>,
        login: &Login,
    ) -> Result<Option<Account>, Error> {
        let owner = match &name {
            Some((kind, value)) => {
                let name = (*kind, value.as_str());
                self.store.owner_of(name, &Freshness::Latest).await?
            }
            None => None,
        };
        let nobody = Bucket::of_key(fields::USERNAME, &login.name);
        let id = match owner {
            Some(owner) => owner,
            None => self.store.new_id(nobody, Time::now())?,
        };
        let account = self.load(id).await?;
        // A claim that is about to be released no longer logs in.
        let named = |account: &Account| {
            name.as_ref()
                .is_some_and(|(_, value)| account.names.contains(value))
        };
        let account = account.filter(named);
        let hash = account
            .as_ref()
            .map_or(&self.dummy, |account| &account.hash);
        let verified = self.hasher.verify(login.password.clone(), hash).await?;
        let Some(account) = account else {
            return Ok(None);
        };
        if !verified.matches {
            self.note_failed(id, login.client.clone());
            return Ok(None);
        }
        if verified.outdated {
            self.rehash(id, login.password.clone(), &account.hash).await;
        }
        Ok(Some(account))
    }

    /// What a user can log in with.
    pub(super) async fn names(&self, user: Id) -> Result<Vec<String>, Error> {
        let account = self.load(user).await?;
        Ok(account.map_or_else(Vec::new, |account| account.names))
    }

    async fn load(&self, id: Id) -> Result<Option<Account>, Error> {
        let select = "SELECT u.username, u.email, u.phone, u.password_hash, u.password_version,
                    t.secret, t.last_step, u.disabled_at
             FROM users u LEFT JOIN totp t ON t.user_id = u.id AND t.confirmed_at IS NOT NULL
             WHERE u.id = ? AND {fence}";
        let mut connection = self.store.at(id).read(&Freshness::Latest).await?;
        let row: Option<Row> = sql(select).bind(id).optional(&mut connection).await?;
        Ok(row.map(|row| Account::new(id, row)))
    }

    /// Replaces a hash of old parameters, now that the password is at hand. Failing is no reason
    /// to refuse the login: the next one tries again.
    async fn rehash(&self, id: Id, password: Password, old: &str) {
        let replaced = async {
            let new = self.hasher.hash(Lane::Register, password).await?;
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
