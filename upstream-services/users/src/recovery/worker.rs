//! The task behind the queue: finds who asks, makes tokens, and sends them.

use std::sync::Arc;
use std::time::Duration;

use prometheus::IntCounterVec;
use store::{Freshness, Id, Store, Time, sql};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{Message, Outbox, void};
use crate::Error;
use crate::fields::{self, Email};
use crate::tokens::RecoveryToken;

/// Does the work.
pub(super) struct Worker {
    pub(super) store: Arc<Store>,
    pub(super) outbox: Outbox,
    pub(super) ttl: Duration,
    pub(super) interval: Duration,
    /// By outcome.
    pub(super) messages: IntCounterVec,
}

/// A message, and whose token is in it.
struct Letter {
    message: Message,
    user: Id,
    token: RecoveryToken,
}

/// What became of a letter.
enum Outcome {
    Sent,
    Failed(String),
    /// It was not tried.
    Dropped(&'static str),
}

impl Worker {
    /// Until the queue says stop, and what was begun is done.
    pub(super) async fn run(self: Arc<Self>, mut requests: mpsc::Receiver<Option<Email>>) {
        let mut deliveries = JoinSet::new();
        while let Some(Some(email)) = requests.recv().await {
            match self.answer(&email).await {
                Ok(Some(letter)) => self.send(letter, &mut deliveries).await,
                Ok(None) => {}
                Err(error) => self.count(&Outcome::Failed(error.to_string())),
            }
            while deliveries.try_join_next().is_some() {}
        }
        self.finish(deliveries).await;
    }

    /// Makes a token, if the address belongs to somebody who was sent none of late.
    async fn answer(&self, email: &Email) -> Result<Option<Letter>, Error> {
        let (key, now) = (email.key(), Time::now());
        let name = (fields::EMAIL, &*key);
        let Some(user) = self.store.owner_of(name, &Freshness::Latest).await? else {
            return Ok(None);
        };
        let mut tx = self.store.at(user).begin().await?;
        let select = "SELECT u.username, u.email, r.requested_at
             FROM users u LEFT JOIN recoveries r ON r.user_id = u.id WHERE u.id = ?";
        let row: Option<(String, String, Option<Time>)> =
            sql(select).bind(user).optional(&mut tx).await?;
        // The claim may be one that is about to be released.
        let Some((username, to, before)) = row.filter(|(_, email, _)| email.to_lowercase() == key)
        else {
            return Ok(None);
        };
        if before.is_some_and(|before| now.since(before) < self.interval) {
            return Ok(None);
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
        Ok(Some(Letter {
            message,
            user,
            token,
        }))
    }

    /// Puts a letter into the spool, or begins to deliver it.
    async fn send(self: &Arc<Self>, letter: Letter, deliveries: &mut JoinSet<()>) {
        let outcome = match &self.outbox {
            Outbox::Spool(spool) => {
                let (spool, message) = (spool.clone(), letter.message);
                let put = tokio::task::spawn_blocking(move || spool.put(&message)).await;
                match put.map_err(std::io::Error::from).flatten() {
                    Ok(()) => Outcome::Sent,
                    Err(error) => Outcome::Failed(format!("the spool: {error}")),
                }
            }
            Outbox::Webhook(webhook) => match webhook.place() {
                Some(place) => {
                    let (worker, webhook) = (self.clone(), webhook.clone());
                    deliveries.spawn(async move {
                        let outcome = match webhook.deliver(&letter.message).await {
                            Ok(()) => Outcome::Sent,
                            Err(why) => Outcome::Failed(why),
                        };
                        worker.settle(letter.user, &letter.token, outcome).await;
                        drop(place);
                    });
                    return;
                }
                None => Outcome::Dropped("too many wait for the webhook"),
            },
        };
        self.settle(letter.user, &letter.token, outcome).await;
    }

    /// Counts a letter. After one that was not sent the user may ask again at once; its token stays valid, because a
    /// receiver that did not answer may have taken it all the same.
    async fn settle(&self, user: Id, token: &RecoveryToken, outcome: Outcome) {
        if !matches!(outcome, Outcome::Sent)
            && let Err(error) = self.allow_another(user, token).await
        {
            tracing::warn!(%error, "who was sent nothing has to wait before asking again");
        }
        self.count(&outcome);
    }

    async fn allow_another(&self, user: Id, token: &RecoveryToken) -> Result<(), Error> {
        let interval = i64::try_from(self.interval.as_millis()).unwrap_or(i64::MAX);
        let long_ago = Time::now().as_millis().saturating_sub(interval);
        let update = sql(
            "UPDATE recoveries SET requested_at = ? WHERE user_id = ? AND hash = ? AND {fence}",
        );
        let update = update.bind(Time::from_millis(long_ago)).bind(user);
        let mut connection = self.store.at(user).write().await?;
        update.bind(token.hash()).run(&mut connection).await?;
        Ok(())
    }

    fn count(&self, outcome: &Outcome) {
        let label = match outcome {
            Outcome::Sent => "sent",
            Outcome::Failed(error) => {
                tracing::error!(error, "a recovery message was not sent");
                "failed"
            }
            Outcome::Dropped(why) => {
                tracing::error!(why, "a recovery message was dropped");
                "dropped"
            }
        };
        self.messages.with_label_values(&[label]).inc();
    }

    /// Waits for the deliveries that are on their way, not for ever.
    async fn finish(&self, mut deliveries: JoinSet<()>) {
        if let Outbox::Webhook(webhook) = &self.outbox {
            webhook.close();
        }
        let all = async { while deliveries.join_next().await.is_some() {} };
        if timeout(LAST, all).await.is_err() {
            for _ in 0..deliveries.len() {
                self.count(&Outcome::Dropped("the service ends"));
            }
        }
    }
}

/// How long deliveries may go on when the service ends.
const LAST: Duration = Duration::from_secs(10);
