//! The HTTP API: routes, and what every request passes.
//!
//! ```text
//! request -> front (request id, metrics, panics, problem bodies)
//!         -> handler (body limit) -> accounts, sessions, profiles, history
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
mod front;
mod history;
mod internal;
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
mod turned_away;

use std::sync::Arc;

use axum::Router;
use axum::http::Method;
use axum::routing::{MethodRouter, delete, get, patch, post};
use chassis::config::Secret;
use clap::ValueEnum;

#[cfg(test)]
pub(crate) use self::body::Json;
use self::front::Front;
use crate::accounts::Accounts;
use crate::admins::Admins;
use crate::factors::Factors;
use crate::hashing::Hasher;
use crate::history::History;
use crate::metrics::Metrics;
use crate::parts::{Authenticates, Part, SessionStates};
use crate::profiles::Profiles;
use crate::records::Records;
use crate::recovery::Recovery;
use crate::sessions::Sessions;
use crate::to_the_end::to_the_end;
use crate::tokens::Issuer;

/// Everything handlers call.
pub(crate) struct Service {
    pub(crate) store: Arc<store::Store>,
    pub(crate) hasher: Arc<Hasher>,
    pub(crate) accounts: Arc<Accounts>,
    /// Whom logins are judged by.
    pub(crate) authenticator: Arc<dyn Authenticates>,
    /// Who knows whether sessions are open.
    pub(crate) states: Arc<dyn SessionStates>,
    pub(crate) admins: Admins,
    pub(crate) factors: Arc<Factors>,
    pub(crate) profiles: Profiles,
    pub(crate) sessions: Sessions,
    pub(crate) records: Records,
    pub(crate) recovery: Recovery,
    pub(crate) history: Arc<History>,
    /// The servers of the shared cache.
    pub(crate) remote: Option<Arc<cache::Remote>>,
    pub(crate) tokens: Issuer,
    pub(crate) metrics: Metrics,
}

/// The state handlers share.
pub(crate) type App = Arc<Service>;

/// The most bytes a body may have.
pub const BODY_LIMIT: usize = 64 * 1024;

/// The API, ready to serve: all of it, or what one part answers, to clients and to other parts.
pub(crate) fn router(app: App, part: Option<(Part, &Secret)>) -> Router {
    let (routes, internal) = match part {
        None => (routes(), Router::new()),
        Some((part, secret)) => (routes_of(part), internal::routes(part, secret)),
    };
    let paths: Vec<_> = routes.iter().map(|(_, path, _)| *path).collect();
    let paths = paths.into_iter().chain(internal::PATHS);
    let add = |router: Router<App>, (_, path, handler): Route| router.route(path, handler);
    fronted(routes.into_iter().fold(internal, add), paths, app)
}

fn fronted(router: Router<App>, paths: impl IntoIterator<Item = &'static str>, app: App) -> Router {
    let metrics = app.metrics.clone();
    let front = Front::new(router.with_state(app), paths, metrics);
    Router::new().fallback(front::answer).with_state(front)
}

/// An operation.
type Route = (Method, &'static str, MethodRouter<App>);

/// Every operation. The OpenAPI document is compared with this list by a test.
fn routes() -> Vec<Route> {
    let parts = Part::value_variants().iter();
    let mut routes: Vec<_> = parts.flat_map(|part| own_routes(*part)).collect();
    routes.extend(common_routes());
    routes
}

/// The operations that a part answers, in a process of its own.
pub(crate) fn routes_of(part: Part) -> Vec<Route> {
    let mut routes = own_routes(part);
    routes.extend(common_routes());
    routes
}

fn own_routes(part: Part) -> Vec<Route> {
    const GET: Method = Method::GET;
    const POST: Method = Method::POST;
    const DELETE: Method = Method::DELETE;
    match part {
        Part::Accounts => vec![
            (POST, "/v1/register", post(accounts::register)),
            (DELETE, "/v1/me", delete(records::erase)),
            (GET, "/v1/me/export", get(records::export)),
            (POST, "/v1/me/password", post(accounts::change_password)),
            (POST, "/v1/me/totp", post(totp::begin)),
            (DELETE, "/v1/me/totp", delete(totp::end)),
            (POST, "/v1/me/totp/confirm", post(totp::confirm)),
            (POST, "/v1/recovery", post(recovery::request)),
            (POST, "/v1/recovery/confirm", post(recovery::confirm)),
            (GET, "/v1/admin/users", get(admin::find)),
            (POST, "/v1/admin/users/{id}/disable", post(admin::disable)),
            (POST, "/v1/admin/users/{id}/enable", post(admin::enable)),
        ],
        Part::Sessions => vec![
            (POST, "/v1/login", post(sessions::login)),
            (POST, "/v1/token/refresh", post(sessions::refresh)),
            (POST, "/v1/logout", post(sessions::logout)),
            (GET, "/v1/me/sessions", get(devices::list)),
            (DELETE, "/v1/me/sessions/{id}", delete(devices::end)),
            (GET, "/.well-known/jwks.json", get(service::jwks)),
        ],
        Part::Profiles => vec![
            (GET, "/v1/me", get(profiles::me)),
            (Method::PATCH, "/v1/me", patch(profiles::change_me)),
            (GET, "/v1/users/{id}", get(profiles::user)),
            (POST, "/v1/users/batch", post(profiles::batch)),
        ],
        Part::History => vec![(GET, "/v1/me/history", get(history::history))],
    }
}

fn common_routes() -> Vec<Route> {
    vec![
        (Method::GET, "/openapi.json", get(openapi::document)),
        (Method::GET, "/healthz", get(service::healthz)),
    ]
}

/// A point in time as the API shows it (RFC 3339).
pub(crate) fn timestamp(time: store::Time) -> String {
    let timestamp = jiff::Timestamp::from_millisecond(time.as_millis());
    timestamp.unwrap_or_default().to_string()
}

#[cfg(test)]
mod tests;
