//! `POST /v1/login`, `/v1/token/refresh` and `/v1/logout`.

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CACHE_CONTROL;
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use store::Time;
use utoipa::ToSchema;

use super::bearer::Bearer;
use super::body::Json;
use super::origin::Origin;
use super::seen::Seen;
use super::{App, to_the_end};
use crate::Error;
use crate::accounts::{Code, Login};
use crate::client::Client;
use crate::fields::Password;
use crate::sessions::Opened;
use crate::tokens::RefreshToken;

/// Who wants in.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LoginRequest {
    /// The username, the e-mail address or the phone number.
    #[schema(example = "anna")]
    username: String,
    /// The password.
    #[schema(format = Password, example = "correct horse battery")]
    password: String,
    /// A code of the second factor, or a recovery code, where the account needs one.
    #[serde(default)]
    #[schema(example = "287082")]
    totp: Option<String>,
}

/// A refresh token to exchange.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RefreshRequest {
    /// The newest refresh token of the session.
    refresh_token: String,
}

/// The tokens of a session.
#[derive(Serialize, ToSchema)]
pub(super) struct Tokens {
    /// A JWT for the Authorization header, signed with EdDSA.
    access_token: String,
    /// Works once, for the next pair of tokens.
    refresh_token: String,
    /// Always "Bearer".
    #[schema(example = "Bearer")]
    token_type: &'static str,
    /// Seconds until the access token expires.
    #[schema(example = 300)]
    expires_in: u64,
}

/// Log in
///
/// Opens a session. An account that does not exist and a wrong password give the same answer.
#[utoipa::path(
    post, path = "/v1/login", operation_id = "login", tag = "sessions", request_body = LoginRequest,
    responses(
        (status = 200, description = "The session's tokens", body = Tokens,
         headers(("tidegate-seen" = String, description = "What the client has seen now: to be sent with its next requests"))),
        (status = 401, description = "Wrong username or password; or `totp-required`: the account has a second factor"),
        (status = 403, description = "The account is disabled"),
        (status = 429, description = "Too many wrong passwords; try again after Retry-After"),
    )
)]
pub(super) async fn login(
    State(app): State<App>,
    Origin(from): Origin,
    told: Seen,
    client: Client,
    Json(request): Json<LoginRequest>,
) -> Result<impl IntoResponse, Error> {
    let login = Login {
        name: request.username,
        password: Password::presented(request.password),
        code: request.totp.map(Code),
        from,
        client: client.clone(),
    };
    let who = app.authenticator.authenticate(login, Time::now()).await?;
    let now = Time::now();
    let opened = app.sessions.open(who, client, now).await?;
    tokens(&app, opened, &told, now)
}

/// Refresh
///
/// Exchanges a refresh token for new tokens. A token that was used before ends the whole session.
#[utoipa::path(
    post, path = "/v1/token/refresh", operation_id = "refresh", tag = "sessions", request_body = RefreshRequest,
    responses(
        (status = 200, description = "The session's next tokens", body = Tokens,
         headers(("tidegate-seen" = String, description = "What the client has seen now: to be sent with its next requests"))),
        (status = 401, description = "The refresh token is unknown, used, expired or revoked"),
    )
)]
pub(super) async fn refresh(
    State(app): State<App>,
    told: Seen,
    client: Client,
    Json(request): Json<RefreshRequest>,
) -> Result<impl IntoResponse, Error> {
    let token = RefreshToken::parse(&request.refresh_token).ok_or(Error::WrongRefreshToken)?;
    let now = Time::now();
    let sessions = app.clone();
    let next = to_the_end(async move { sessions.sessions.refresh(&token, client, now).await });
    tokens(&app, next.await?, &told, now)
}

/// Log out
///
/// Ends the session of the access token, with all its tokens.
#[utoipa::path(
    post, path = "/v1/logout", operation_id = "logout", tag = "sessions", security(("bearer" = [])),
    responses((status = 204, description = "The session has ended"))
)]
pub(super) async fn logout(
    State(app): State<App>,
    Bearer(access): Bearer,
    client: Client,
) -> Result<StatusCode, Error> {
    to_the_end(async move { app.sessions.end(access, client, Time::now()).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Tokens must not stay in a cache (RFC 6749, section 5.1).
fn tokens(
    app: &App,
    opened: Opened,
    told: &Seen,
    now: Time,
) -> Result<impl IntoResponse + use<>, Error> {
    let tokens = Tokens {
        access_token: app.tokens.issue(opened.access, opened.role, now)?,
        refresh_token: opened.refresh.reveal(),
        token_type: "Bearer",
        expires_in: app.tokens.ttl().as_secs(),
    };
    let seen = told.at(opened.position);
    Ok((seen, [(CACHE_CONTROL, "no-store")], axum::Json(tokens)))
}
