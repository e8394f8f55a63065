//! `/v1/recovery`: a new password for who has forgotten the old one.

use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use store::Time;
use utoipa::ToSchema;

use super::body::Json;
use super::origin::Origin;
use super::{App, to_the_end};
use crate::Error;
use crate::client::Client;
use crate::fields::{Email, Password};
use crate::tokens::RecoveryToken;

/// Who has forgotten the password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RecoveryRequest {
    /// The e-mail address of the account.
    #[schema(format = Email, max_length = 254, example = "anna@example.org")]
    email: String,
}

/// A new password for a token.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ConfirmRequest {
    /// The token of the message.
    token: String,
    /// 8 to 128 characters of any kind.
    #[schema(min_length = 8, max_length = 128, format = Password, example = "correct horse battery")]
    password: String,
}

/// Ask for a new password
///
/// Sends a token to the address, if it belongs to an account. The answer is the same if not.
#[utoipa::path(
    post, path = "/v1/recovery", operation_id = "request_recovery", tag = "accounts", request_body = RecoveryRequest,
    responses(
        (status = 202, description = "If there is such an account, a message is on its way"),
        (status = 501, description = "This service sends no messages"),
    )
)]
pub(super) async fn request(
    State(app): State<App>,
    Json(request): Json<RecoveryRequest>,
) -> Result<StatusCode, Error> {
    app.recovery.request(Email::parse(&request.email)?)?;
    Ok(StatusCode::ACCEPTED)
}

/// Set a new password
///
/// Uses up the token, ends all sessions of the user, and forgets wrong passwords. A second factor stays.
#[utoipa::path(
    post, path = "/v1/recovery/confirm", operation_id = "confirm_recovery", tag = "accounts", request_body = ConfirmRequest,
    responses(
        (status = 204, description = "From now on the new password counts"),
        (status = 401, description = "The token is unknown, used, expired or followed by another"),
    )
)]
pub(super) async fn confirm(
    State(app): State<App>,
    Origin(from): Origin,
    client: Client,
    Json(request): Json<ConfirmRequest>,
) -> Result<StatusCode, Error> {
    let token = RecoveryToken::parse(&request.token).ok_or(Error::WrongRecoveryToken)?;
    let new = Password::parse(request.password)?;
    to_the_end(async move {
        let now = Time::now();
        let user = app.recovery.user_of(&token, now).await?;
        let recovered = app.accounts.recover(user, &token, new, (from, client));
        let (ended, committed) = recovered.await?;
        app.sessions.ended(&ended, committed).await?;
        Ok::<_, Error>(StatusCode::NO_CONTENT)
    })
    .await
}
