//! The second factor of a login: codes of a device, and ten codes on paper for when it is lost.
//!
//! ```text
//!   begin (a secret, pending) -> confirm (a code of it; the ten codes) -> asked for at every login
//! ```
//!
//! A code works once: the step of the newest that was used is in the row and only grows.

use std::path::Path;
use std::sync::Arc;

use store::{Id, Store, Time, Transaction, sql};

use crate::Error;
use crate::records::lock;

mod code;
mod vault;

use code::{PaperCode, Secret};
use vault::Vault;

/// Sets up, checks and removes second factors.
pub(crate) struct Factors {
    store: Arc<Store>,
    vault: Vault,
    /// What devices show beside the account.
    issuer: String,
}

/// A secret to put into a device.
pub(crate) struct Offer {
    pub(crate) secret: String,
    pub(crate) uri: String,
}

/// The second factor of an account, as it is stored.
#[derive(Clone)]
pub(crate) struct Factor {
    pub(crate) sealed: Vec<u8>,
    pub(crate) last_step: i64,
}

impl Factors {
    /// Reads or makes the key of stored secrets in `dir`.
    pub(crate) fn open(store: Arc<Store>, dir: &Path, issuer: &str) -> Result<Self, Error> {
        Ok(Self {
            store,
            vault: Vault::open(dir)?,
            issuer: issuer.to_owned(),
        })
    }

    /// Makes a secret that is asked for once it is confirmed; [`Error::TotpOn`] if one is already,
    /// [`Error::NotFound`] if the user is gone.
    pub(crate) async fn begin(&self, user: Id, account: &str, now: Time) -> Result<Offer, Error> {
        let secret = Secret::new();
        let sealed = self.vault.seal(user, secret.as_bytes())?;
        let mut tx = self.store.at(user).begin().await?;
        // A secret for a user who is deleted at this moment would stay for ever.
        if !lock(&mut tx, user).await? {
            return Err(Error::NotFound);
        }
        let insert =
            "INSERT INTO totp (user_id, secret, created_at, last_step) VALUES (?, ?, ?, 0)";
        let insert = sql(insert).bind(user).bind(sealed.clone()).bind(now);
        // Inserted first: an update that finds no row locks the gap where others are about to insert theirs.
        match insert.run(&mut tx).await {
            Err(error) if error.is_duplicate() => {
                let update = "UPDATE totp SET secret = ?, created_at = ?, last_step = 0
                     WHERE user_id = ? AND confirmed_at IS NULL";
                let update = sql(update).bind(sealed).bind(now).bind(user);
                if update.run(&mut tx).await? == 0 {
                    return Err(Error::TotpOn);
                }
            }
            inserted => drop(inserted?),
        }
        tx.commit().await?;
        Ok(Offer {
            secret: secret.reveal(),
            uri: secret.uri(&self.issuer, account),
        })
    }

    /// Turns the pending secret on, with a code of it, and returns the codes for paper. They are
    /// shown once: only their hashes are stored.
    pub(crate) async fn confirm(
        &self,
        user: Id,
        code: &str,
        now: Time,
    ) -> Result<Vec<String>, Error> {
        let mut tx = self.store.at(user).begin().await?;
        let select = "SELECT secret FROM totp WHERE user_id = ? AND confirmed_at IS NULL";
        let row: Option<(Vec<u8>,)> = sql(select).bind(user).optional(&mut tx).await?;
        let (sealed,) = row.ok_or(Error::TotpNotPending)?;
        let secret = self.secret(user, &sealed)?;
        let step = secret.step_of(code, 0, now).ok_or(Error::WrongCode)?;
        let update = "UPDATE totp SET confirmed_at = ?, last_step = ?
             WHERE user_id = ? AND confirmed_at IS NULL AND secret = ?";
        let update = sql(update).bind(now).bind(step).bind(user).bind(sealed);
        if update.run(&mut tx).await? != 1 {
            return Err(Error::TotpNotPending);
        }
        forget_codes(&mut tx, user).await?;
        let codes: Vec<PaperCode> = (0..CODES).map(|_| PaperCode::new()).collect();
        for code in &codes {
            sql("INSERT INTO recovery_codes (user_id, hash) VALUES (?, ?)")
                .bind(user)
                .bind(code.hash(user))
                .run(&mut tx)
                .await?;
        }
        tx.commit().await?;
        Ok(codes.iter().map(PaperCode::reveal).collect())
    }

    /// Uses up a code of the device or of the paper; whether it was one.
    pub(crate) async fn redeem(
        &self,
        user: Id,
        factor: &Factor,
        code: &str,
        now: Time,
    ) -> Result<bool, Error> {
        let statement = if let Some(paper) = PaperCode::parse(code) {
            sql("DELETE FROM recovery_codes WHERE user_id = ? AND hash = ? AND {fence}")
                .bind(user)
                .bind(paper.hash(user))
        } else {
            let secret = self.secret(user, &factor.sealed)?;
            let Some(step) = secret.step_of(code, factor.last_step, now) else {
                return Ok(false);
            };
            // Of two logins with the same code only one moves the step.
            let update = "UPDATE totp SET last_step = ?
                 WHERE user_id = ? AND last_step < ? AND secret = ? AND {fence}";
            let update = sql(update).bind(step).bind(user).bind(step);
            update.bind(&*factor.sealed)
        };
        let mut connection = self.store.at(user).write().await?;
        Ok(statement.run(&mut connection).await? == 1)
    }

    /// Takes the second factor away.
    pub(crate) async fn end(&self, user: Id) -> Result<(), Error> {
        let mut tx = self.store.at(user).begin().await?;
        remove(&mut tx, user).await?;
        Ok(tx.commit().await?)
    }

    fn secret(&self, user: Id, sealed: &[u8]) -> Result<Secret, Error> {
        let bytes = self.vault.unseal(user, sealed)?;
        Secret::from_bytes(&bytes)
            .ok_or_else(|| Error::Internal("a stored secret has another length".to_owned()))
    }
}

/// Takes all that belongs to a user's second factor away.
pub(crate) async fn remove(tx: &mut Transaction, user: Id) -> Result<(), Error> {
    sql("DELETE FROM totp WHERE user_id = ?")
        .bind(user)
        .run(&mut *tx)
        .await?;
    forget_codes(tx, user).await
}

async fn forget_codes(tx: &mut Transaction, user: Id) -> Result<(), Error> {
    sql("DELETE FROM recovery_codes WHERE user_id = ?")
        .bind(user)
        .run(tx)
        .await?;
    Ok(())
}

/// How many codes there are on paper.
const CODES: usize = 10;

#[cfg(test)]
pub(crate) mod tests;
