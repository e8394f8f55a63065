//! Recovery: a new password for who can read the account's e-mail.
//!
//! ```text
//!   request -> bounded queue -> 202
//!                   \-> one task: find the user, store the token's hash, put the message into the spool
//! ```
//!
//! The answer comes before anybody has looked for the account, so it says nothing about it, and
//! neither does its time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus::IntCounterVec;
use store::{Freshness, Id, Store, Time, Transaction, sql};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::Error;
use crate::config::RecoveryConfig;
use crate::fields::{self, Email};
use crate::tokens::RecoveryToken;

mod spool;

use spool::{Message, Spool};

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
        let Some(dir) = &config.spool else {
            return Ok(Self {
                queue: None,
                worker: Mutex::new(None),
                store,
            });
        };
        let spool = Spool::open(dir).map_err(|error| Error::Spool {
            path: dir.clone(),
            why: error.to_string(),
        })?;
        let (queue, requests) = mpsc::channel(QUEUE);
        let worker = Worker {
            store: store.clone(),
            spool,
            ttl: *config.token_ttl,
            interval: *config.interval,
            messages,
        };
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

    /// Deletes tokens that have expired, a batch of each shard at a time.
    pub(crate) async fn sweep(&self, now: Time) -> Result<(), Error> {
        for shard in self.store.shards() {
            let mut connection = shard.write().await?;
            let old = sql("SELECT user_id FROM recoveries WHERE expires_at < ? LIMIT 500");
            let old: Vec<(Id,)> = old.bind(now).all(&mut connection).await?;
            if !old.is_empty() {
                let delete = sql("DELETE FROM recoveries WHERE user_id IN ");
                let delete = delete.list(old.into_iter().map(|(user,)| user));
                let delete = delete.then(" AND expires_at < ?").bind(now);
                delete.run(&mut connection).await?;
            }
        }
        Ok(())
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

/// The task behind the queue.
struct Worker {
    store: Arc<Store>,
    spool: Spool,
    ttl: Duration,
    interval: Duration,
    messages: IntCounterVec,
}

impl Worker {
    /// Until the queue says stop.
    async fn run(self, mut requests: mpsc::Receiver<Option<Email>>) {
        while let Some(Some(email)) = requests.recv().await {
            let outcome = match self.answer(&email).await {
                Ok(true) => "sent",
                Ok(false) => continue,
                Err(error) => {
                    tracing::error!(%error, "a recovery message was not sent");
                    "failed"
                }
            };
            self.messages.with_label_values(&[outcome]).inc();
        }
    }

    /// Sends a token, if the address belongs to somebody who was sent none of late.
    async fn answer(&self, email: &Email) -> Result<bool, Error> {
        let (key, now) = (email.key(), Time::now());
        let name = (fields::EMAIL, &*key);
        let Some(user) = self.store.owner_of(name, &Freshness::Latest).await? else {
            return Ok(false);
        };
        let mut tx = self.store.at(user).begin().await?;
        let select = "SELECT u.username, u.email, r.requested_at
             FROM users u LEFT JOIN recoveries r ON r.user_id = u.id WHERE u.id = ?";
        let row: Option<(String, String, Option<Time>)> =
            sql(select).bind(user).optional(&mut tx).await?;
        // The claim may be one that is about to be released.
        let Some((username, to, before)) = row.filter(|(_, email, _)| email.to_lowercase() == key)
        else {
            return Ok(false);
        };
        if before.is_some_and(|before| now.since(before) < self.interval) {
            return Ok(false);
        }
        let token = RecoveryToken::new(user);
        let expires_at = now.plus(self.ttl);
        void(&mut tx, user).await?;
        sql("INSERT INTO recoveries (user_id, hash, requested_at, expires_at) VALUES (?, ?, ?, ?)")
            .bind(user)
            .bind(token.hash())
            .bind(now)
            .bind(expires_at)
            .run(&mut tx)
            .await?;
        let message = Message {
            kind: "recovery",
            to,
            username,
            token: token.reveal(),
            expires_at: crate::api::timestamp(expires_at),
        };
        tx.commit().await?;
        let put = self.put(message).await;
        if put.is_err() {
            // Who asks again is sent one at once.
            let mut tx = self.store.at(user).begin().await?;
            redeem(&mut tx, &token, user, now).await?;
            tx.commit().await?;
        }
        put.map(|()| true)
    }

    async fn put(&self, message: Message) -> Result<(), Error> {
        let spool = self.spool.clone();
        let put = tokio::task::spawn_blocking(move || spool.put(&message)).await;
        put.map_err(|error| Error::Internal(format!("the spool: {error}")))?
            .map_err(|error| Error::Internal(format!("the spool: {error}")))
    }
}

/// So many requests may wait.
const QUEUE: usize = 256;
