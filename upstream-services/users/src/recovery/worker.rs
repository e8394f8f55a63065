//! The task behind the queue: finds who asks, makes tokens, and sends them.

use std::sync::Arc;
use std::time::Duration;

use prometheus::IntCounterVec;
use store::{Freshness, Id, Store, Time, sql};
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;

use super::{Message, Outbox, void};
use crate::Error;
use crate::fields::{self, Email};
use crate::records::lock;
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
    /// Among those that wait for the webhook.
    place: Option<OwnedSemaphorePermit>,
}

/// Letters on their way to the webhook.
struct Deliveries {
    tasks: JoinSet<()>,
    /// Whoever is still on the way gives up.
    end: watch::Sender<bool>,
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
        let mut deliveries = Deliveries {
            tasks: JoinSet::new(),
            end: watch::channel(false).0,
        };
        while let Some(Some(email)) = requests.recv().await {
            match self.answer(&email).await {
                Ok(Some(letter)) => self.send(letter, &mut deliveries).await,
                Ok(None) => {}
                Err(error) => self.count(&Outcome::Failed(error.to_string())),
            }
            while let Some(ended) = deliveries.tasks.try_join_next() {
                self.ended(ended);
            }
        }
        self.finish(deliveries).await;
    }

    /// Makes a token, if the address belongs to somebody who was sent none of late, and there is room for the message: the token
    /// before it is void then.
    async fn answer(&self, email: &Email) -> Result<Option<Letter>, Error> {
        let (key, now) = (email.key(), Time::now());
        let name = (fields::EMAIL, &*key);
        let Some(user) = self.store.owner_of(name, &Freshness::Latest).await? else {
            return Ok(None);
        };
        // Before anything is void for a message that cannot be put away.
        self.look_for_room().await?;
        let mut tx = self.store.at(user).begin().await?;
        if !lock(&mut tx, user).await? {
            return Ok(None);
        }
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
        let place = match &self.outbox {
            Outbox::Spool(_) => None,
            Outbox::Webhook(webhook) => match webhook.place() {
                Some(place) => Some(place),
                None => {
                    self.count(&Outcome::Dropped("too many wait for the webhook"));
                    return Ok(None);
                }
            },
        };
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
            place,
        }))
    }

    /// Whether a message fits into the spool; for a webhook a place is taken later.
    async fn look_for_room(&self) -> Result<(), Error> {
        let Outbox::Spool(spool) = &self.outbox else {
            return Ok(());
        };
        let spool = spool.clone();
        let room = tokio::task::spawn_blocking(move || spool.room()).await;
        let room = room.map_err(std::io::Error::from).flatten();
        room.map_err(|error| Error::Internal(format!("the spool: {error}")))
    }

    /// Puts a letter into the spool, or begins to deliver it.
    async fn send(self: &Arc<Self>, letter: Letter, deliveries: &mut Deliveries) {
        match &self.outbox {
            Outbox::Spool(spool) => {
                let (spool, message) = (spool.clone(), letter.message);
                let put = tokio::task::spawn_blocking(move || spool.put(&message)).await;
                let outcome = match put.map_err(std::io::Error::from).flatten() {
                    Ok(()) => Outcome::Sent,
                    Err(error) => Outcome::Failed(format!("the spool: {error}")),
                };
                self.settle(letter.user, &letter.token, outcome).await;
            }
            Outbox::Webhook(webhook) => {
                let (worker, webhook) = (self.clone(), webhook.clone());
                let mut end = deliveries.end.subscribe();
                deliveries.tasks.spawn(async move {
                    let outcome = tokio::select! {
                        delivered = webhook.deliver(&letter.message) => match delivered {
                            Ok(()) => Outcome::Sent,
                            Err(why) => Outcome::Failed(why),
                        },
                        _ = end.wait_for(|end| *end) => Outcome::Dropped(THE_END),
                    };
                    worker.settle(letter.user, &letter.token, outcome).await;
                    drop(letter.place);
                });
            }
        }
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

    /// A delivery has ended: it counts for itself, unless it has panicked.
    fn ended(&self, ended: Result<(), JoinError>) {
        if let Err(error) = ended {
            self.count(&Outcome::Failed(format!("a delivery: {error}")));
        }
    }

    /// Waits for the deliveries that are on their way, not for ever; for what is cut off the user may ask again at once.
    async fn finish(&self, mut deliveries: Deliveries) {
        if let Outbox::Webhook(webhook) = &self.outbox {
            webhook.close();
        }
        for patience in [LAST, SETTLE] {
            let all = async {
                while let Some(ended) = deliveries.tasks.join_next().await {
                    self.ended(ended);
                }
            };
            if timeout(patience, all).await.is_ok() {
                return;
            }
            deliveries.end.send_replace(true);
        }
        for _ in 0..deliveries.tasks.len() {
            self.count(&Outcome::Dropped(THE_END));
        }
    }
}

/// How long deliveries may go on when the service ends.
const LAST: Duration = Duration::from_secs(10);
/// How long it may take then to let users ask again.
const SETTLE: Duration = Duration::from_secs(3);
const THE_END: &str = "the service ends";
