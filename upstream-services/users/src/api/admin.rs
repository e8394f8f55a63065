//! `/v1/admin`: for administrators.

use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequestParts, Path, Query, State};
use axum::http::StatusCode;
use axum::http::header::CACHE_CONTROL;
use axum::http::request::Parts;
use axum::response::IntoResponse;
use serde::Serialize;
use store::{Id, Time};
use utoipa::ToSchema;

use super::bearer::Bearer;
use super::{App, timestamp, to_the_end};
use crate::Error;
use crate::admins::Found;
use crate::fields::{self, Email, Phone, Username};
use crate::tokens::Access;

/// An administrator with a valid access token.
pub(super) struct Admin(Access);

impl FromRequestParts<App> for Admin {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Error> {
        let Bearer(access) = Bearer::from_request_parts(parts, app).await?;
        match app.admins.is_admin(access.user).await? {
            true => Ok(Self(access)),
            false => Err(Error::Forbidden),
        }
    }
}

/// What administrators see of a user.
#[derive(Serialize, ToSchema)]
pub(super) struct AdminUser {
    /// The user's id.
    #[schema(value_type = String, example = "128512093184000123")]
    id: Id,
    /// The user name.
    username: String,
    /// The e-mail address.
    email: String,
    /// The phone number, if there is one.
    #[schema(required)]
    phone: Option<String>,
    /// The name to show, if there is one.
    #[schema(required)]
    display_name: Option<String>,
    /// "user" or "admin".
    #[schema(example = "user")]
    role: &'static str,
    /// Whether a second factor is on.
    totp: bool,
    /// When the account was made.
    #[schema(format = DateTime, example = "2026-11-28T12:00:00Z")]
    created_at: String,
    /// Since when the user cannot log in, if so.
    #[schema(required, format = DateTime, example = "2026-11-28T12:00:00Z")]
    disabled_at: Option<String>,
}

/// Find a user
///
/// By exactly one of the names.
#[utoipa::path(
    get, path = "/v1/admin/users", operation_id = "find_user", tag = "admin", security(("bearer" = [])),
    params(
        ("username" = Option<String>, Query, description = "The user name"),
        ("email" = Option<String>, Query, description = "The e-mail address"),
        ("phone" = Option<String>, Query, description = "The phone number, its + as %2B"),
    ),
    responses(
        (status = 200, description = "The user", body = AdminUser),
        (status = 403, description = "Not an administrator"),
        (status = 404, description = "There is no such user"),
        (status = 422, description = "Not exactly one name, or not one that can be"),
    )
)]
pub(super) async fn find(
    State(app): State<App>,
    _admin: Admin,
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
) -> Result<impl IntoResponse, Error> {
    let one = || Error::Invalid {
        field: "query".to_owned(),
        why: "must be one of username, email and phone".to_owned(),
    };
    let Query(query) = query.map_err(|_| one())?;
    let [(key, value)] = &*query else {
        return Err(one());
    };
    let (kind, name) = match &**key {
        "username" => (
            fields::USERNAME,
            Username::parse(value)?.as_str().to_owned(),
        ),
        "email" => (fields::EMAIL, Email::parse(value)?.key()),
        "phone" => (fields::PHONE, Phone::parse(value)?.as_str().to_owned()),
        _ => return Err(one()),
    };
    let found = app.admins.find((kind, &name)).await?;
    let user = shown(found.ok_or(Error::NotFound)?);
    Ok(([(CACHE_CONTROL, "no-store")], axum::Json(user)))
}

/// Keep a user out
///
/// Ends all sessions; logins are refused until the user is enabled.
#[utoipa::path(
    post, path = "/v1/admin/users/{id}/disable", operation_id = "disable_user", tag = "admin", security(("bearer" = [])),
    params(("id" = String, Path, description = "The user's id")),
    responses(
        (status = 204, description = "The user is out"),
        (status = 403, description = "Not an administrator"),
        (status = 404, description = "There is no user with this id"),
        (status = 409, description = "Administrators do not disable themselves"),
    )
)]
pub(super) async fn disable(
    State(app): State<App>,
    Admin(admin): Admin,
    Path(id): Path<String>,
) -> Result<StatusCode, Error> {
    let user: Id = id.parse().map_err(|_| Error::NotFound)?;
    if user == admin.user {
        return Err(Error::OwnAccount);
    }
    to_the_end(async move {
        let (ended, committed) = app.admins.disable(user, Time::now()).await?;
        app.sessions.ended(&ended, committed).await?;
        tracing::info!(admin = %admin.user, %user, "disabled a user");
        Ok(StatusCode::NO_CONTENT)
    })
    .await
}

/// Let a user in again
#[utoipa::path(
    post, path = "/v1/admin/users/{id}/enable", operation_id = "enable_user", tag = "admin", security(("bearer" = [])),
    params(("id" = String, Path, description = "The user's id")),
    responses(
        (status = 204, description = "The user can log in"),
        (status = 403, description = "Not an administrator"),
        (status = 404, description = "There is no user with this id"),
    )
)]
pub(super) async fn enable(
    State(app): State<App>,
    Admin(admin): Admin,
    Path(id): Path<String>,
) -> Result<StatusCode, Error> {
    let user: Id = id.parse().map_err(|_| Error::NotFound)?;
    to_the_end(async move { app.admins.enable(user).await }).await?;
    tracing::info!(admin = %admin.user, %user, "enabled a user");
    Ok(StatusCode::NO_CONTENT)
}

fn shown(found: Found) -> AdminUser {
    AdminUser {
        id: found.id,
        username: found.username,
        email: found.email,
        phone: found.phone,
        display_name: found.display_name,
        role: found.role.as_str(),
        totp: found.totp,
        created_at: timestamp(found.created_at),
        disabled_at: found.disabled_at.map(timestamp),
    }
}
