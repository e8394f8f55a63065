//! What a role that runs says at its admin listener, for commands that explain what it does.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode, header};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde::de::DeserializeOwned;

use super::AdminConfig;
use crate::config::Secret;

/// How long the role may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// Ten thousand endpoints.
const LARGEST: usize = 8 << 20;

/// The admin listener of a role that may run.
#[derive(Debug)]
pub struct AdminClient {
    url: String,
    /// Whether somebody has said that it is there.
    given: bool,
    token: Option<Secret>,
}

/// That somebody answers there, and not for this token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("answered 401: `admin.token` is another one there")]
struct OtherToken;

/// Why nothing was learned.
pub type NotAnswered = Box<dyn std::error::Error + Send + Sync>;

impl AdminClient {
    /// The one at this URL, or where the configuration says.
    pub fn new(url: Option<&str>, config: &AdminConfig) -> Self {
        Self {
            url: match url {
                Some(url) => url.trim_end_matches('/').to_owned(),
                None => format!("http://{}", *config.address),
            },
            given: url.is_some(),
            token: config.token.clone(),
        }
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Asks, and waits for the answers; none when nobody answers where the configuration says.
    ///
    /// # Errors
    /// When nobody answers at a URL that was given, or somebody who wants another token.
    pub fn ask<T>(
        &self,
        ask: impl AsyncFnOnce(&Self) -> Result<T, NotAnswered>,
    ) -> Result<Option<T>, String> {
        let asked = || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(async { tokio::time::timeout(PATIENCE, ask(self)).await })?
        };
        match asked() {
            Ok(answer) => Ok(Some(answer)),
            Err(error) if self.given || error.is::<OtherToken>() => {
                Err(format!("{}: {error}", self.url))
            }
            Err(_) => Ok(None),
        }
    }

    /// The answer for a path.
    ///
    /// # Errors
    /// When there is none, or it is not what is expected.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, NotAnswered> {
        let mut request = Request::get(format!("{}{path}", self.url));
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", token.expose()));
        }
        let client = Client::builder(TokioExecutor::new()).build_http();
        let answer = client.request(request.body(Body::empty())?).await?;
        let status = answer.status();
        if status == StatusCode::UNAUTHORIZED {
            return Err(OtherToken.into());
        }
        if !status.is_success() {
            return Err(format!("answered {status}").into());
        }
        let body = to_bytes(Body::new(answer.into_body()), LARGEST).await?;
        Ok(serde_json::from_slice(&body)?)
    }
}
