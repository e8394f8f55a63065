//! Parts in other processes, asked over HTTP.
//!
//! One that takes connections and answers nothing costs a few seconds once: then requests are refused at once, until it answers
//! again.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::http::header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{Method, Request, Response, StatusCode};
use cache::Need;
use chassis::config::Secret;
use futures::future::BoxFuture;
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::de::DeserializeOwned;
use serde_json::Value;
use store::{Id, Time};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::breaker::Breaker;
use super::wire::text_of_need;
use super::{Attempt, Authenticates, Part, SessionStates};
use crate::accounts::{Authenticated, Login};
use crate::sessions::State;
use crate::{BODY_LIMIT, Error};

/// A part in another process.
pub(crate) struct Peer {
    part: Part,
    /// Scheme, host and port.
    base: String,
    secret: Secret,
    client: Client<HttpConnector, Full<Bytes>>,
    breaker: Breaker,
    /// Who has it finds out whether the part hangs; when somebody found last that it does not.
    turn: Mutex<Option<Instant>>,
}

/// The accounts, elsewhere.
pub(crate) struct RemoteAccounts(pub(crate) Arc<Peer>);

/// The sessions, elsewhere.
pub(crate) struct RemoteSessions(pub(crate) Arc<Peer>);

impl Peer {
    pub(crate) fn new(part: Part, base: &str, secret: &Secret) -> Arc<Self> {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT));
        connector.set_nodelay(true);
        Arc::new(Self {
            part,
            base: base.trim_end_matches('/').to_owned(),
            secret: secret.clone(),
            client: Client::builder(TokioExecutor::new())
                .pool_idle_timeout(IDLE)
                .pool_timer(TokioTimer::new())
                .build(connector),
            breaker: Breaker::default(),
            turn: Mutex::default(),
        })
    }

    /// Asks, and reads what the answer says.
    async fn ask<T: DeserializeOwned>(
        self: &Arc<Self>,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
        patience: Duration,
    ) -> Result<T, Error> {
        if !self.breaker.allows() {
            return Err(Error::Away(self.part.name()));
        }
        let token = format!("Bearer {}", self.secret.expose());
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header(AUTHORIZATION, token)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::from(body.unwrap_or_default()));
        let request = request.map_err(|error| Error::Internal(error.to_string()))?;
        let asked = Instant::now();
        let exchange = timeout(patience, async {
            let (head, body) = self.client.request(request).await?.into_parts();
            let body = Limited::new(body, BODY_LIMIT).collect().await?;
            Ok::<_, axum::BoxError>(Response::from_parts(head, body.to_bytes()))
        });
        let answer = tokio::select! {
            answer = exchange => answer.ok(),
            () = self.hangs() => None,
        };
        let Some(Ok(answer)) = answer else {
            // A host that is gone lets each wait for a connection.
            if answer.is_some() && asked.elapsed() >= QUICK {
                self.watch().await;
            }
            return Err(Error::Away(self.part.name()));
        };
        match answer.status() {
            StatusCode::OK => serde_json::from_slice(answer.body())
                .map_err(|error| Error::Internal(format!("{}: {error}", self.part.name()))),
            _ => Err(self.refused(&answer)),
        }
    }

    /// Ends when it is known to hang; a long queue of hashes is no reason.
    async fn hangs(self: &Arc<Self>) {
        while self.breaker.allows() {
            tokio::time::sleep(DOUBT).await;
            self.watch().await;
        }
    }

    /// Finds out whether it hangs, or waits until somebody else has, and has it watched if so.
    async fn watch(self: &Arc<Self>) {
        let begun = Instant::now();
        let mut well = self.turn.lock().await;
        if !self.breaker.allows() || well.is_some_and(|well| well >= begun) {
            return;
        }
        if !self.lets_wait().await {
            *well = Some(Instant::now());
        } else if self.breaker.trip() {
            tracing::warn!(part = self.part.name(), "hangs: nobody waits for it");
            tokio::spawn(find_out(Arc::downgrade(self)));
        }
    }

    /// Whether a question that needs nothing has no answer in time. On a connection of its own: one that is kept may be dead.
    async fn lets_wait(&self) -> bool {
        let request = Request::builder()
            .uri(format!("{}/", self.base))
            .header(CONNECTION, "close")
            .body(Full::default());
        let Ok(request) = request else { return false };
        let asked = Instant::now();
        match timeout(PROBE, self.client.request(request)).await {
            Ok(Ok(_)) => false,
            Ok(Err(_)) => asked.elapsed() >= QUICK,
            Err(_) => true,
        }
    }

    /// What went wrong there, as if it had here.
    fn refused(&self, answer: &Response<Bytes>) -> Error {
        let problem: Value = serde_json::from_slice(answer.body()).unwrap_or_default();
        let kind = problem["type"].as_str().unwrap_or_default();
        let wait = answer.headers().get(RETRY_AFTER);
        let wait = wait.and_then(|wait| wait.to_str().ok()?.parse().ok());
        match kind.rsplit(':').next().unwrap_or_default() {
            "wrong-credentials" => Error::WrongCredentials,
            "totp-required" => Error::TotpRequired,
            "wrong-code" => Error::WrongCode,
            "account-disabled" => Error::AccountDisabled,
            "locked-out" => Error::LockedOut(Duration::from_secs(wait.unwrap_or(1))),
            "overloaded" => Error::Overloaded,
            "body-too-large" => Error::TooLarge,
            _ if answer.status() == StatusCode::SERVICE_UNAVAILABLE => {
                Error::Away(self.part.name())
            }
            _ => Error::Internal(format!("{} answers {}", self.part.name(), answer.status())),
        }
    }
}

/// Asks until nobody would have to wait, for as long as somebody may want one.
async fn find_out(peer: Weak<Peer>) {
    loop {
        tokio::time::sleep(PAUSE).await;
        let Some(peer) = peer.upgrade() else {
            return;
        };
        if !peer.lets_wait().await {
            peer.breaker.close();
            tracing::info!(part = peer.part.name(), "hangs no longer");
            return;
        }
    }
}

impl Authenticates for RemoteAccounts {
    fn authenticate(&self, login: Login, _: Time) -> BoxFuture<'_, Result<Authenticated, Error>> {
        Box::pin(async move {
            let body = serde_json::to_vec(&Attempt::from(login));
            let body = body.map_err(|error| Error::Internal(error.to_string()))?;
            let path = "/internal/v1/authenticate";
            self.0.ask(Method::POST, path, Some(body), HASH).await
        })
    }
}

impl SessionStates for RemoteSessions {
    fn state(&self, session: Id, need: Need) -> BoxFuture<'_, Result<Option<State>, Error>> {
        Box::pin(async move {
            // Marks consist of what may stand in a query.
            let need = text_of_need(&need);
            let path = format!("/internal/v1/sessions/{session}?need={need}");
            self.0.ask(Method::GET, &path, None, LOOK).await
        })
    }
}

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(1);
/// How long an unused connection is kept: less than others keep theirs.
const IDLE: Duration = Duration::from_secs(10);
/// How long a look into the store may take there: a statement has ten seconds, and before it waits for a connection.
const LOOK: Duration = Duration::from_secs(15);
/// The same with a hash before which others wait.
const HASH: Duration = Duration::from_secs(60);
/// After so long without an answer it is asked, and then again, whether it answers anything.
const DOUBT: Duration = Duration::from_secs(1);
/// What an answer to that may take at most.
const PROBE: Duration = Duration::from_secs(2);
/// Between two such questions to a part that hangs.
const PAUSE: Duration = Duration::from_millis(500);
/// What fails sooner makes nobody wait.
const QUICK: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests;
