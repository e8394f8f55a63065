//! `POST /v1/register` and `/v1/me/password`.

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use store::{Id, Time};
use utoipa::ToSchema;

use super::bearer::Bearer;
use super::body::Json;
use super::origin::Origin;
use super::seen::Seen;
use super::{App, timestamp, to_the_end};
use crate::Error;
use crate::accounts::{Asking, Registration};
use crate::admins::Role;
use crate::client::Client;
use crate::fields::{Email, Password, Phone, Username};

/// A new account.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RegisterRequest {
    /// 3 to 32 of a-z, 0-9, '_', '.' and '-'; upper case is folded.
    #[schema(
        min_length = 3,
        max_length = 32,
        pattern = "^[A-Za-z0-9_.-]+$",
        example = "anna"
    )]
    username: String,
    /// The e-mail address. Case does not tell addresses apart.
    #[schema(format = Email, max_length = 254, example = "anna@example.org")]
    email: String,
    /// A phone number, as E.164 writes it.
    #[serde(default)]
    #[schema(pattern = "^\\+[1-9][0-9]{6,14}$", example = "+4930901820")]
    phone: Option<String>,
    /// 8 to 128 characters of any kind.
    #[schema(min_length = 8, max_length = 128, format = Password, example = "correct horse battery")]
    password: String,
}

/// The account that was made.
#[derive(Serialize, ToSchema)]
pub(super) struct Account {
    /// The user's id.
    #[schema(value_type = String, example = "128512093184000123")]
    id: Id,
    /// The user name, in lower case.
    username: String,
    /// The e-mail address.
    email: String,
    /// The phone number, if there is one.
    #[schema(required)]
    phone: Option<String>,
    /// When the account was made.
    #[schema(format = DateTime, example = "2026-11-28T12:00:00Z")]
    created_at: String,
}

/// A new password for the current one.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PasswordRequest {
    /// The password until now.
    #[schema(format = Password, example = "correct horse battery")]
    current_password: String,
    /// 8 to 128 characters of any kind.
    #[schema(min_length = 8, max_length = 128, format = Password, example = "correct horse battery")]
    password: String,
}

/// Register
///
/// Makes an account. Whether the username, the e-mail address or the phone number is the one that
/// is taken stays unsaid.
#[utoipa::path(
    post, path = "/v1/register", operation_id = "register", tag = "accounts", request_body = RegisterRequest,
    responses(
        (status = 201, description = "The account", body = Account,
         headers(("Location" = String, description = "The path of the public profile"))),
        (status = 409, description = "The username, the e-mail address or the phone number is taken"),
    )
)]
pub(super) async fn register(
    State(app): State<App>,
    Json(request): Json<RegisterRequest>,
) -> Result<impl IntoResponse, Error> {
    let new = Registration {
        username: Username::parse(&request.username)?,
        email: Email::parse(&request.email)?,
        phone: request.phone.as_deref().map(Phone::parse).transpose()?,
        password: Password::parse(request.password)?,
        role: Role::User,
    };
    let made = to_the_end(async move { app.accounts.register(new, Time::now()).await }).await?;
    let location = format!("/v1/users/{}", made.id);
    let account = Account {
        id: made.id,
        username: made.username,
        email: made.email,
        phone: made.phone,
        created_at: timestamp(made.created_at),
    };
    Ok((
        StatusCode::CREATED,
        [(LOCATION, location)],
        axum::Json(account),
    ))
}

/// Change one's password
///
/// Ends all other sessions of the user.
#[utoipa::path(
    post, path = "/v1/me/password", operation_id = "change_password", tag = "accounts", security(("bearer" = [])),
    request_body = PasswordRequest,
    responses(
        (status = 204, description = "From now on the new password counts",
         headers(("tidegate-seen" = String, description = "What the client has seen now: to be sent with its next requests"))),
        (status = 401, description = "The current password is wrong, or the access token"),
        (status = 404, description = "The account has just been deleted"),
        (status = 429, description = "Too many wrong passwords; try again after Retry-After"),
    )
)]
pub(super) async fn change_password(
    State(app): State<App>,
    Bearer(access): Bearer,
    Origin(from): Origin,
    told: Seen,
    client: Client,
    Json(request): Json<PasswordRequest>,
) -> Result<impl IntoResponse, Error> {
    let asking = Asking {
        access,
        password: Password::presented(request.current_password),
        from,
    };
    let new = Password::parse(request.password)?;
    let position = to_the_end(async move {
        let changed = app
            .accounts
            .change_password(asking, new, client, Time::now());
        let (ended, committed) = changed.await?;
        app.sessions.ended(&ended, committed).await
    })
    .await?;
    Ok((told.at(position), StatusCode::NO_CONTENT))
}
