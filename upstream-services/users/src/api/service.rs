//! What other services ask: signing keys and health.

use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::IntoResponse;
use serde::Serialize;
use utoipa::ToSchema;

use super::App;
use crate::Error;

/// The service answers and reaches its data.
#[derive(Serialize, ToSchema)]
pub(super) struct Health {
    /// Always "ok".
    #[schema(example = "ok")]
    status: &'static str,
}

/// The public keys of access tokens
///
/// A JWK set (RFC 7517). Read it again on an unknown `kid`: a new key signs at once.
#[utoipa::path(
    get, path = "/.well-known/jwks.json", tag = "service",
    responses((status = 200, description = "The keys", body = Object))
)]
pub(super) async fn jwks(State(app): State<App>) -> impl IntoResponse {
    let headers = [
        (CONTENT_TYPE, "application/json"),
        (CACHE_CONTROL, "public, max-age=300"),
    ];
    (headers, app.tokens.jwks())
}

/// Health
///
/// Reads one page of every shard: answers 503 when data cannot be reached in time.
#[utoipa::path(
    get, path = "/healthz", tag = "service",
    responses((status = 200, description = "The service can work", body = Health))
)]
pub(super) async fn healthz(State(app): State<App>) -> Result<impl IntoResponse, Error> {
    let reached = app.store.ping().await;
    reached.map_err(|error| match error {
        busy @ store::Error::Busy(_) => busy.into(),
        // A shard that cannot be read is a reason to send requests elsewhere, not a 500.
        error => {
            tracing::error!(%error, "a shard cannot be read");
            Error::Overloaded
        }
    })?;
    Ok((
        [(CACHE_CONTROL, "no-store")],
        axum::Json(Health { status: "ok" }),
    ))
}
