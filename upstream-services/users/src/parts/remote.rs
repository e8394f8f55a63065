//! Parts in other processes, asked over HTTP.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
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
use tokio::time::timeout;

use super::wire::text_of_need;
use super::{Attempt, Authenticates, Part, SessionStates};
use crate::accounts::{Authenticated, Login};
use crate::sessions::State;
use crate::{BODY_LIMIT, Error};

/// A part in another process.
#[derive(Clone)]
pub(crate) struct Peer {
    part: Part,
    /// Scheme, host and port.
    base: String,
    secret: Secret,
    client: Client<HttpConnector, Full<Bytes>>,
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
        })
    }

    /// Asks, and reads what the answer says.
    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
        patience: Duration,
    ) -> Result<T, Error> {
        let token = format!("Bearer {}", self.secret.expose());
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header(AUTHORIZATION, token)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::from(body.unwrap_or_default()));
        let request = request.map_err(|error| Error::Internal(error.to_string()))?;
        let answered = timeout(patience, async {
            let (head, body) = self.client.request(request).await.ok()?.into_parts();
            let body = Limited::new(body, BODY_LIMIT).collect().await.ok()?;
            Some(Response::from_parts(head, body.to_bytes()))
        });
        let answer = answered.await.ok().flatten();
        let answer = answer.ok_or(Error::Away(self.part.name()))?;
        match answer.status() {
            StatusCode::OK => serde_json::from_slice(answer.body())
                .map_err(|error| Error::Internal(format!("{}: {error}", self.part.name()))),
            _ => Err(self.refused(&answer)),
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
/// How long a look into the store may take there.
const LOOK: Duration = Duration::from_secs(10);
/// The same with a hash before which others wait.
const HASH: Duration = Duration::from_secs(60);
