//! The admin listener: `/healthz`, `/readyz`, `/metrics`, `/pressure`, `POST /reload`.

use std::net::SocketAddr;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use prometheus::{Encoder, TextEncoder};
use schemars::JsonSchema;
use serde::Deserialize;
use subtle::ConstantTimeEq;

use super::{Life, ReloadRequests, Stage};
use crate::config::{Diagnostic, Located, Secret};
use crate::problem::{self, Problem};

/// Where operators and `control` look at this process.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AdminConfig {
    /// Address and port; port 0 takes a free one. A change needs a restart.
    pub address: Located<SocketAddr>,
    /// A bearer token that every request must carry; needed when the address is not loopback.
    #[serde(default)]
    pub token: Option<Secret>,
}

impl AdminConfig {
    /// Finds an open admin listener without a token.
    ///
    /// # Errors
    /// When the address is not loopback and no token is set.
    pub fn validate(&self) -> Result<(), Diagnostic> {
        let token = self.token.as_ref().map_or("", |token| token.expose());
        if !self.address.ip().is_loopback() && token.len() < 16 {
            return Err(self
                .address
                .wrong("an admin listener that is not on loopback needs a token")
                .help("add `token = \"${ADMIN_TOKEN}\"` with at least 16 characters"));
        }
        Ok(())
    }

    /// Binds and serves; returns the bound address.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn serve(&self, life: &Life, reloads: ReloadRequests) -> std::io::Result<SocketAddr> {
        let listener = tokio::net::TcpListener::bind(*self.address).await?;
        let address = listener.local_addr()?;
        let mut router = Router::new()
            .route("/healthz", get(|| async { "alive\n" }))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics))
            .route("/pressure", get(pressure))
            .with_state(life.clone())
            .merge(
                Router::new()
                    .route("/reload", post(reload))
                    .with_state(reloads),
            );
        if let Some(token) = &self.token {
            router = router.layer(middleware::from_fn_with_state(token.clone(), authorize));
        }
        tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!(%error, "the admin listener ended");
            }
        });
        Ok(address)
    }
}

async fn readyz(State(life): State<Life>) -> Response {
    match life.stage() {
        Stage::Ready => "ready\n".into_response(),
        Stage::Starting => (StatusCode::SERVICE_UNAVAILABLE, "starting\n").into_response(),
        Stage::Draining => (StatusCode::SERVICE_UNAVAILABLE, "draining\n").into_response(),
    }
}

async fn metrics(State(life): State<Life>) -> Response {
    let mut body = Vec::new();
    match TextEncoder::new().encode(&life.registry.gather(), &mut body) {
        Ok(()) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], body).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn pressure(State(life): State<Life>) -> Response {
    Json(life.pressure.report(Instant::now())).into_response()
}

async fn reload(State(reloads): State<ReloadRequests>) -> Response {
    match reloads.ask().await {
        Ok(()) => "reloaded\n".into_response(),
        Err(why) => {
            let problem = Problem::new(422, "reload-failed", "The old configuration serves on");
            let body = problem.detail(why).to_json();
            let kind = [(header::CONTENT_TYPE, problem::CONTENT_TYPE)];
            (StatusCode::UNPROCESSABLE_ENTITY, kind, body).into_response()
        }
    }
}

async fn authorize(State(token): State<Secret>, request: Request, next: Next) -> Response {
    let given = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    if given.is_some_and(|given| given.ct_eq(token.expose().as_bytes()).into()) {
        return next.run(request).await;
    }
    let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
    (
        StatusCode::UNAUTHORIZED,
        challenge,
        "a bearer token is needed\n",
    )
        .into_response()
}
