//! Recovery: a new password for who can read the account's e-mail.
//!
//! ```text
//!   request -> bounded queue -> 202
//!                   \-> one task: find the user, store the token's hash, put the message into the spool
//!                                                             or send it to the webhook, in a task of its own
//! ```
//!
//! The answer comes before anybody has looked for the account, so it says nothing about it, and
//! neither does its time.

use std::sync::{Arc, Mutex, PoisonError};

use prometheus::IntCounterVec;
use serde::Serialize;
use store::{Freshness, Id, Shard, Store, Time, Transaction, sql};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::Error;
use crate::config::RecoveryConfig;
use crate::fields::Email;
use crate::tokens::RecoveryToken;

mod spool;
mod webhook;
mod worker;

use spool::Spool;
use webhook::Webhook;
use worker::Worker;

/// Takes requests for recovery.
pub(crate) struct Recovery {
    /// None where nothing is configured that could send a token.
    queue: Option<mpsc::Sender<Option<Email>>>,
    worker: Mutex<Option<JoinHandle<()>>>,
    store: Arc<Store>,
}

impl Recovery {
    /// Starts the task that does the work.
    pub(crate) fn start(
        store: Arc<Store>,
        config: &RecoveryConfig,
        messages: IntCounterVec,
    ) -> Result<Self, Error> {
        let Some(outbox) = Outbox::open(config)? else {
            return Ok(Self {
                queue: None,
                worker: Mutex::new(None),
                store,
            });
        };
        let (queue, requests) = mpsc::channel(QUEUE);
        let worker = Arc::new(Worker {
            store: store.clone(),
            outbox,
            ttl: *config.token_ttl,
            interval: *config.interval,
            messages,
        });
        Ok(Self {
            queue: Some(queue),
            worker: Mutex::new(Some(tokio::spawn(worker.run(requests)))),
            store,
        })
    }

    /// Takes a request, whether the address belongs to somebody or not.
    pub(crate) fn request(&self, email: Email) -> Result<(), Error> {
        let queue = self.queue.as_ref().ok_or(Error::RecoveryOff)?;
        queue.try_send(Some(email)).map_err(|_| Error::Overloaded)
    }

    /// Whose token this is, if it is valid.
    pub(crate) async fn user_of(&self, token: &RecoveryToken, now: Time) -> Result<Id, Error> {
        let user = token.user().ok_or(Error::WrongRecoveryToken)?;
        let select = "SELECT user_id FROM recoveries
             WHERE user_id = ? AND hash = ? AND expires_at > ? AND {fence}";
        let select = sql(select).bind(user).bind(token.hash()).bind(now);
        let mut connection = self.store.at(user).read(&Freshness::Latest).await?;
        let row: Option<(Id,)> = select.optional(&mut connection).await?;
        row.map(|(user,)| user).ok_or(Error::WrongRecoveryToken)
    }

    /// Deletes tokens that have expired, a batch of each shard at a time; the first error of any shard.
    pub(crate) async fn sweep(&self, now: Time) -> Result<(), Error> {
        let mut outcome = Ok(());
        for shard in self.store.shards() {
            outcome = outcome.and(sweep(shard, now).await);
        }
        outcome
    }

    /// Finishes what was requested.
    pub(crate) async fn close(&self) {
        if let Some(queue) = &self.queue {
            let _ = queue.send(None).await; // it fails when the task has ended
        }
        let worker = self.worker.lock().unwrap_or_else(PoisonError::into_inner);
        let worker = { worker }.take();
        if let Some(worker) = worker
            && let Err(error) = worker.await
        {
            tracing::error!(%error, "recovery did not end well");
        }
    }
}

/// What to tell a user. It is as secret as the mail.
#[derive(Serialize)]
struct Message {
    /// What it is about: `recovery`.
    kind: &'static str,
    /// The e-mail address.
    to: String,
    username: String,
    token: String,
    expires_at: String,
}

/// The way that messages go.
enum Outbox {
    Spool(Spool),
    Webhook(Arc<Webhook>),
}

impl Outbox {
    /// The one that is configured, if any is.
    fn open(config: &RecoveryConfig) -> Result<Option<Self>, Error> {
        if let Some(webhook) = &config.webhook {
            return Ok(Some(Self::Webhook(Arc::new(Webhook::open(webhook)?))));
        }
        let Some(dir) = &config.spool else {
            return Ok(None);
        };
        let spool = Spool::open(dir).map_err(|error| Error::Spool {
            path: dir.clone(),
            why: error.to_string(),
        })?;
        Ok(Some(Self::Spool(spool)))
    }
}

async fn sweep(shard: &Shard, now: Time) -> Result<(), Error> {
    let mut connection = shard.write().await?;
    let old = sql("SELECT user_id FROM recoveries WHERE expires_at < ? LIMIT 500");
    let old: Vec<(Id,)> = old.bind(now).all(&mut connection).await?;
    if !old.is_empty() {
        let delete = sql("DELETE FROM recoveries WHERE user_id IN ");
        let delete = delete.list(old.into_iter().map(|(user,)| user));
        let delete = delete.then(" AND expires_at < ?").bind(now);
        delete.run(&mut connection).await?;
    }
    Ok(())
}

/// Uses up a token; whether it was valid.
pub(crate) async fn redeem(
    tx: &mut Transaction,
    token: &RecoveryToken,
    user: Id,
    now: Time,
) -> Result<bool, Error> {
    let delete = "DELETE FROM recoveries WHERE user_id = ? AND hash = ? AND expires_at > ?";
    let delete = sql(delete).bind(user).bind(token.hash()).bind(now);
    Ok(delete.run(tx).await? == 1)
}

/// Makes a user's token void: the password or the address that it was sent to has changed.
pub(crate) async fn void(tx: &mut Transaction, user: Id) -> Result<(), Error> {
    sql("DELETE FROM recoveries WHERE user_id = ?")
        .bind(user)
        .run(tx)
        .await?;
    Ok(())
}

/// So many requests may wait.
const QUEUE: usize = 256;
