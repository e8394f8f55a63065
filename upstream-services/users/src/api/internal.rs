//! What other parts of the services ask, with the secret that all of them have.

use axum::Router;
use axum::extract::{Path, Query, Request, State};
use axum::http::header::AUTHORIZATION;
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{get, post};
use chassis::config::Secret;
use serde::Deserialize;
use store::{Id, Time};
use subtle::ConstantTimeEq;

use super::App;
use super::body::Json;
use crate::Error;
use crate::accounts::Authenticated;
use crate::parts::{Attempt, Part, need_of_text};
use crate::sessions::State as SessionState;

/// Where parts answer others.
pub(super) const PATHS: [&str; 2] = [AUTHENTICATE, SESSION];

/// What a part answers to others.
pub(super) fn routes(part: Part, secret: &Secret) -> Router<App> {
    let router = match part {
        Part::Accounts => Router::new().route(AUTHENTICATE, post(authenticate)),
        Part::Sessions => Router::new().route(SESSION, get(session)),
        Part::Profiles | Part::History => return Router::new(),
    };
    router.route_layer(middleware::from_fn_with_state(secret.clone(), check))
}

/// Lets nobody else in.
async fn check(
    State(secret): State<Secret>,
    request: Request,
    next: Next,
) -> Result<Response, Error> {
    let header = request.headers().get(AUTHORIZATION);
    let presented = header.and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    let fits = presented.is_some_and(|token| token.ct_eq(secret.expose().as_bytes()).into());
    match fits {
        true => Ok(next.run(request).await),
        false => Err(Error::Unauthenticated {
            presented: presented.is_some(),
        }),
    }
}

async fn authenticate(
    State(app): State<App>,
    Json(attempt): Json<Attempt>,
) -> Result<axum::Json<Authenticated>, Error> {
    let who = app.accounts.authenticate(attempt.into(), Time::now());
    Ok(axum::Json(who.await?))
}

#[derive(Deserialize)]
struct Asked {
    #[serde(default)]
    need: String,
}

async fn session(
    State(app): State<App>,
    Path(id): Path<Id>,
    Query(asked): Query<Asked>,
) -> Result<axum::Json<Option<SessionState>>, Error> {
    let state = app.states.state(id, need_of_text(&asked.need)).await?;
    Ok(axum::Json(state))
}

const AUTHENTICATE: &str = "/internal/v1/authenticate";
const SESSION: &str = "/internal/v1/sessions/{id}";
