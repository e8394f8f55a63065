//! What other services ask: signing keys and health.

use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::IntoResponse;
use serde::Serialize;
use utoipa::ToSchema;

use super::App;
use crate::Error;

/// The service answers and reaches its data, or most of it.
#[derive(Serialize, ToSchema)]
pub(super) struct Health {
    /// "ok", or "degraded" when a shard cannot be read, or a server of the shared cache does not answer.
    #[schema(example = "ok")]
    status: &'static str,
    /// The shards that cannot be read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    shards_down: Vec<u16>,
    /// How many servers of the shared cache do not answer: without them it is slower. The metrics name them.
    #[serde(skip_serializing_if = "is_zero")]
    cache_servers_down: usize,
}

/// The public keys of access tokens (RFC 7517).
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what tokens::keys makes")]
pub(super) struct KeySet {
    /// The last by name signs; all are accepted.
    keys: Vec<Key>,
}

/// A public key (RFC 8037).
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what tokens::keys makes")]
struct Key {
    /// Always "OKP".
    #[schema(example = "OKP")]
    kty: String,
    /// Always "Ed25519".
    #[schema(example = "Ed25519")]
    crv: String,
    /// The key, in base64url.
    x: String,
    /// Its name, which tokens have in their head.
    kid: String,
    /// Always "sig".
    #[schema(example = "sig")]
    r#use: String,
    /// Always "EdDSA".
    #[schema(example = "EdDSA")]
    alg: String,
}

/// The public keys of access tokens
///
/// A JWK set (RFC 7517). Read it again on an unknown `kid`: a new key signs at once.
#[utoipa::path(
    get, path = "/.well-known/jwks.json", operation_id = "read_keys", tag = "service",
    responses((status = 200, description = "The keys", body = KeySet))
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
/// Reads one page of every shard. One that cannot be read is named, and its users get 503; when no shard can be
/// read, so does this. Servers of the shared cache that do not answer are counted: it is slower without them, and no
/// request fails.
#[utoipa::path(
    get, path = "/healthz", operation_id = "read_health", tag = "service",
    responses((status = 200, description = "The service can work", body = Health))
)]
pub(super) async fn healthz(State(app): State<App>) -> Result<impl IntoResponse, Error> {
    let failed = app.store.ping().await;
    for (shard, error) in &failed {
        tracing::error!(shard, %error, "a shard cannot be read");
    }
    if failed.len() == app.store.shards().len() {
        return Err(Error::NoShard);
    }
    let servers = app.remote.as_ref().map(|remote| remote.stats());
    let servers = servers.unwrap_or_default();
    let cache_servers_down = servers.iter().filter(|server| !server.up).count();
    let health = Health {
        status: match failed.is_empty() && cache_servers_down == 0 {
            true => "ok",
            false => "degraded",
        },
        cache_servers_down,
        shards_down: failed.into_iter().map(|(shard, _)| shard).collect(),
    };
    Ok(([(CACHE_CONTROL, "no-store")], axum::Json(health)))
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
const fn is_zero(number: &usize) -> bool {
    *number == 0
}
