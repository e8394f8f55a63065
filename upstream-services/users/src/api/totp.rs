//! `/v1/me/totp`: the second factor.

use std::net::IpAddr;

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
use crate::accounts::Asking;
use crate::fields::Password;
use crate::freshness::seen;
use crate::tokens::Access;

/// The password again: an access token alone is not enough.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ProofRequest {
    /// The password.
    #[schema(format = Password, example = "correct horse battery")]
    password: String,
}

impl ProofRequest {
    /// Goes on only if it is the password of who asks.
    pub(super) async fn prove(
        self,
        app: &App,
        access: Access,
        from: Option<IpAddr>,
    ) -> Result<(), Error> {
        let asking = Asking {
            access,
            password: Password::presented(self.password),
            from,
        };
        app.accounts.prove(&asking, Time::now()).await.map(drop)
    }
}

/// A code of the device.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CodeRequest {
    /// Six digits.
    #[schema(example = "287082")]
    code: String,
}

/// A secret to put into a device.
#[derive(Serialize, ToSchema)]
pub(super) struct TotpSecret {
    /// The secret, in base32, to type in.
    secret: String,
    /// The same as a URI, to show as a QR code.
    #[schema(example = "otpauth://totp/tidegate:anna?secret=...")]
    uri: String,
}

/// Codes for when the device is lost.
#[derive(Serialize, ToSchema)]
pub(super) struct RecoveryCodes {
    /// Ten, each for one login. They are not shown again.
    recovery_codes: Vec<String>,
}

/// Begin with a second factor
///
/// Makes a secret. Logins ask for its codes once it is confirmed; until then another one can be made.
#[utoipa::path(
    post, path = "/v1/me/totp", operation_id = "begin_totp", tag = "accounts", security(("bearer" = [])),
    request_body = ProofRequest,
    responses(
        (status = 200, description = "The secret, pending", body = TotpSecret),
        (status = 401, description = "The password is wrong, or the access token"),
        (status = 404, description = "The account has just been deleted"),
        (status = 409, description = "A second factor is on already"),
        (status = 429, description = "Too many wrong passwords; try again after Retry-After"),
    )
)]
pub(super) async fn begin(
    State(app): State<App>,
    Bearer(access): Bearer,
    Origin(from): Origin,
    told: Seen,
    Json(request): Json<ProofRequest>,
) -> Result<impl IntoResponse, Error> {
    request.prove(&app, access, from).await?;
    // Who has a session has a profile, and user names do not change.
    let seen = seen(1, &told.position);
    let profile = app.profiles.get(access.user, &seen).await?;
    let name = profile.ok_or(Error::NotFound)?.username.clone();
    let begun = to_the_end(async move { app.factors.begin(access.user, &name, Time::now()).await });
    let offer = begun.await?;
    let secret = TotpSecret {
        secret: offer.secret,
        uri: offer.uri,
    };
    Ok(([(CACHE_CONTROL, "no-store")], axum::Json(secret)))
}

/// Turn the second factor on
///
/// From now on logins need a code. The recovery codes are shown this once.
#[utoipa::path(
    post, path = "/v1/me/totp/confirm", operation_id = "confirm_totp", tag = "accounts", security(("bearer" = [])),
    request_body = CodeRequest,
    responses(
        (status = 200, description = "It is on", body = RecoveryCodes),
        (status = 401, description = "The code is wrong, or the access token"),
        (status = 409, description = "No second factor waits to be confirmed"),
        (status = 429, description = "Too many wrong codes; try again after Retry-After"),
    )
)]
pub(super) async fn confirm(
    State(app): State<App>,
    Bearer(access): Bearer,
    Origin(from): Origin,
    Json(request): Json<CodeRequest>,
) -> Result<impl IntoResponse, Error> {
    let confirmed = to_the_end(async move {
        let now = Time::now();
        let code = request.code.trim();
        app.accounts
            .confirm_totp(access.user, from, code, now)
            .await
    });
    let codes = RecoveryCodes {
        recovery_codes: confirmed.await?,
    };
    Ok(([(CACHE_CONTROL, "no-store")], axum::Json(codes)))
}

/// Turn the second factor off
#[utoipa::path(
    delete, path = "/v1/me/totp", operation_id = "end_totp", tag = "accounts", security(("bearer" = [])),
    request_body = ProofRequest,
    responses(
        (status = 204, description = "Logins need the password only"),
        (status = 401, description = "The password is wrong, or the access token"),
        (status = 404, description = "The account has just been deleted"),
        (status = 429, description = "Too many wrong passwords; try again after Retry-After"),
    )
)]
pub(super) async fn end(
    State(app): State<App>,
    Bearer(access): Bearer,
    Origin(from): Origin,
    Json(request): Json<ProofRequest>,
) -> Result<StatusCode, Error> {
    request.prove(&app, access, from).await?;
    to_the_end(async move { app.factors.end(access.user).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}
