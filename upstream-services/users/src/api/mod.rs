//! The HTTP API: routes, and the layers every request passes.
//!
//! ```text
//! request -> observe (metrics) -> finish (request id, problem bodies) -> catch panics
//!         -> body limit -> handler -> accounts, sessions, profiles, history
//! ```
//!
//! Handlers parse, call one operation and dress its answer; they decide nothing else.

mod accounts;
mod admin;
mod bearer;
mod body;
mod client;
mod devices;
mod etag;
mod history;
mod observe;
mod openapi;
mod origin;
mod problems;
mod profiles;
mod query;
mod records;
mod recovery;
mod seen;
mod service;
mod sessions;
mod totp;

use std::future::Future;
use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::http::Method;
use axum::routing::{MethodRouter, delete, get, patch, post};
use axum::{Router, middleware};
use tower_http::catch_panic::CatchPanicLayer;

use crate::accounts::Accounts;
use crate::admins::Admins;
use crate::factors::Factors;
use crate::hashing::Hasher;
use crate::history::History;
use crate::metrics::Metrics;
use crate::profiles::Profiles;
use crate::records::Records;
use crate::recovery::Recovery;
use crate::sessions::Sessions;
use crate::tokens::Issuer;

/// Everything handlers call.
pub(crate) struct Service {
    pub(crate) store: Arc<store::Store>,
    pub(crate) hasher: Arc<Hasher>,
    pub(crate) accounts: Accounts,
    pub(crate) admins: Admins,
    pub(crate) factors: Arc<Factors>,
    pub(crate) profiles: Profiles,
    pub(crate) sessions: Sessions,
    pub(crate) records: Records,
    pub(crate) recovery: Recovery,
    pub(crate) history: Arc<History>,
    pub(crate) tokens: Issuer,
    pub(crate) metrics: Metrics,
}

/// The state handlers share.
pub(crate) type App = Arc<Service>;

/// The most bytes a body may have.
pub const BODY_LIMIT: usize = 64 * 1024;

/// The API, ready to serve.
pub(crate) fn router(app: App) -> Router {
    layered(
        routes()
            .into_iter()
            .fold(Router::new(), |router, (_, path, handler)| {
                router.route(path, handler)
            }),
        app,
    )
}

fn layered(router: Router<App>, app: App) -> Router {
    let panics = app.metrics.panics.clone();
    router
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(CatchPanicLayer::custom(move |panic| {
            problems::panicked(panic, &panics)
        }))
        .layer(middleware::from_fn(problems::finish))
        .layer(middleware::from_fn_with_state(
            app.clone(),
            observe::observe,
        ))
        .with_state(app)
}

/// Every operation. The OpenAPI document is compared with this list by a test.
fn routes() -> Vec<(Method, &'static str, MethodRouter<App>)> {
    vec![
        (Method::POST, "/v1/register", post(accounts::register)),
        (Method::POST, "/v1/login", post(sessions::login)),
        (Method::POST, "/v1/token/refresh", post(sessions::refresh)),
        (Method::POST, "/v1/logout", post(sessions::logout)),
        (Method::GET, "/v1/me", get(profiles::me)),
        (Method::PATCH, "/v1/me", patch(profiles::change_me)),
        (Method::DELETE, "/v1/me", delete(records::erase)),
        (Method::GET, "/v1/me/export", get(records::export)),
        (
            Method::POST,
            "/v1/me/password",
            post(accounts::change_password),
        ),
        (Method::POST, "/v1/me/totp", post(totp::begin)),
        (Method::DELETE, "/v1/me/totp", delete(totp::end)),
        (Method::POST, "/v1/me/totp/confirm", post(totp::confirm)),
        (Method::POST, "/v1/recovery", post(recovery::request)),
        (
            Method::POST,
            "/v1/recovery/confirm",
            post(recovery::confirm),
        ),
        (Method::GET, "/v1/admin/users", get(admin::find)),
        (
            Method::POST,
            "/v1/admin/users/{id}/disable",
            post(admin::disable),
        ),
        (
            Method::POST,
            "/v1/admin/users/{id}/enable",
            post(admin::enable),
        ),
        (Method::GET, "/v1/me/history", get(history::history)),
        (Method::GET, "/v1/me/sessions", get(devices::list)),
        (Method::DELETE, "/v1/me/sessions/{id}", delete(devices::end)),
        (Method::GET, "/v1/users/{id}", get(profiles::user)),
        (Method::POST, "/v1/users/batch", post(profiles::batch)),
        (Method::GET, "/.well-known/jwks.json", get(service::jwks)),
        (Method::GET, "/openapi.json", get(openapi::document)),
        (Method::GET, "/healthz", get(service::healthz)),
    ]
}

/// Runs a write to its end even if the client hangs up meanwhile.
async fn to_the_end<T: Send + 'static>(write: impl Future<Output = T> + Send + 'static) -> T {
    match tokio::spawn(write).await {
        Ok(written) => written,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// A point in time as the API shows it (RFC 3339).
pub(crate) fn timestamp(time: store::Time) -> String {
    let timestamp = jiff::Timestamp::from_millisecond(time.as_millis());
    timestamp.unwrap_or_default().to_string()
}

#[cfg(test)]
mod tests;
