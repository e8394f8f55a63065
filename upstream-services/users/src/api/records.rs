//! `GET /v1/me/export` and `DELETE /v1/me`: what is stored about a user, shown and deleted.

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CACHE_CONTROL;
use axum::response::IntoResponse;
use serde::Serialize;
use store::{Id, Time};
use utoipa::ToSchema;

use super::bearer::Bearer;
use super::body::Json;
use super::origin::Origin;
use super::profiles::{Me, own};
use super::totp::ProofRequest;
use super::{App, timestamp, to_the_end};
use crate::Error;
use crate::history::Entry;
use crate::records::{FactorRecord, Record, RecoveryRecord, SessionRecord};

/// All that is stored about a user, but passwords, secrets and tokens: of these there are only hashes
/// and sealed bytes.
#[derive(Serialize, ToSchema)]
pub(super) struct Export {
    /// When it was read.
    #[schema(format = DateTime, example = "2026-11-28T12:00:00Z")]
    exported_at: String,
    /// The profile.
    profile: Me,
    /// "user" or "admin".
    #[schema(example = "user")]
    role: &'static str,
    /// The sessions, until some time after their end.
    sessions: Vec<ExportedSession>,
    /// The second factor, if there is one.
    #[schema(required)]
    totp: Option<ExportedTotp>,
    /// The last recovery message, until its token has expired.
    #[schema(required)]
    recovery: Option<ExportedRecovery>,
    /// What happened to the account, the newest first, 10,000 events at most.
    history: Vec<ExportedEvent>,
}

/// Something that happened to the account.
#[derive(Serialize, ToSchema)]
pub(super) struct ExportedEvent {
    /// What it was, as in `/v1/me/history`.
    #[schema(example = "login")]
    kind: String,
    /// When.
    #[schema(format = DateTime, example = "2026-11-28T12:00:00Z")]
    time: String,
    /// The client's address.
    #[schema(required)]
    address: Option<String>,
    /// What the client called itself.
    #[schema(required)]
    agent: Option<String>,
    /// The session that it concerned.
    #[schema(required, value_type = Option<String>)]
    session: Option<Id>,
}

/// A session.
#[derive(Serialize, ToSchema)]
pub(super) struct ExportedSession {
    /// The session's id.
    #[schema(value_type = String, example = "128512093184000123")]
    id: Id,
    /// When somebody logged in.
    #[schema(format = DateTime, example = "2026-11-28T12:00:00Z")]
    created_at: String,
    /// When it was refreshed last.
    #[schema(required, format = DateTime, example = "2026-11-28T12:00:00Z")]
    refreshed_at: Option<String>,
    /// When it ends by itself.
    #[schema(format = DateTime, example = "2026-11-28T12:00:00Z")]
    expires_at: String,
    /// When it was ended.
    #[schema(required, format = DateTime, example = "2026-11-28T12:00:00Z")]
    revoked_at: Option<String>,
}

/// A second factor, without its secret.
#[derive(Serialize, ToSchema)]
pub(super) struct ExportedTotp {
    /// When the secret was made.
    #[schema(format = DateTime, example = "2026-11-28T12:00:00Z")]
    created_at: String,
    /// When it was turned on, if it is.
    #[schema(required, format = DateTime, example = "2026-11-28T12:00:00Z")]
    confirmed_at: Option<String>,
    /// How many recovery codes are left.
    recovery_codes: i64,
}

/// A recovery message, without its token.
#[derive(Serialize, ToSchema)]
pub(super) struct ExportedRecovery {
    /// When it was asked for.
    #[schema(format = DateTime, example = "2026-11-28T12:00:00Z")]
    requested_at: String,
    /// When its token ends.
    #[schema(format = DateTime, example = "2026-11-28T12:00:00Z")]
    expires_at: String,
}

/// Read all that is stored about oneself
#[utoipa::path(
    get, path = "/v1/me/export", operation_id = "export_me", tag = "accounts", security(("bearer" = [])),
    responses(
        (status = 200, description = "The user's data", body = Export),
        (status = 404, description = "The account has just been deleted"),
    )
)]
pub(super) async fn export(
    State(app): State<App>,
    Bearer(access): Bearer,
) -> Result<impl IntoResponse, Error> {
    let record = app.records.read(access.user, &app.profiles).await?;
    let export = exported(record, Time::now());
    Ok(([(CACHE_CONTROL, "no-store")], axum::Json(export)))
}

/// Delete one's account
///
/// With all that is stored about the user. The names are free at once, and nothing can be undone.
#[utoipa::path(
    delete, path = "/v1/me", operation_id = "delete_me", tag = "accounts", security(("bearer" = [])),
    request_body = ProofRequest,
    responses(
        (status = 204, description = "The account is gone"),
        (status = 401, description = "The password is wrong, or the access token"),
        (status = 404, description = "The account has just been deleted"),
        (status = 429, description = "Too many wrong passwords; try again after Retry-After"),
    )
)]
pub(super) async fn erase(
    State(app): State<App>,
    Bearer(access): Bearer,
    Origin(from): Origin,
    Json(request): Json<ProofRequest>,
) -> Result<StatusCode, Error> {
    request.prove(&app, access, from).await?;
    to_the_end(async move {
        let erased = app.records.erase(access.user, &app.profiles, &app.sessions);
        erased.await?;
        tracing::info!(user = %access.user, "deleted an account");
        Ok(StatusCode::NO_CONTENT)
    })
    .await
}

fn exported(record: Record, now: Time) -> Export {
    let session = |session: SessionRecord| ExportedSession {
        id: session.id,
        created_at: timestamp(session.created_at),
        refreshed_at: session.refreshed_at.map(timestamp),
        expires_at: timestamp(session.expires_at),
        revoked_at: session.revoked_at.map(timestamp),
    };
    let totp = |factor: FactorRecord| ExportedTotp {
        created_at: timestamp(factor.created_at),
        confirmed_at: factor.confirmed_at.map(timestamp),
        recovery_codes: factor.recovery_codes,
    };
    let recovery = |recovery: RecoveryRecord| ExportedRecovery {
        requested_at: timestamp(recovery.requested_at),
        expires_at: timestamp(recovery.expires_at),
    };
    let event = |entry: Entry| ExportedEvent {
        kind: entry.kind,
        time: timestamp(entry.at),
        address: entry.address,
        agent: entry.agent,
        session: entry.session,
    };
    Export {
        history: record.history.into_iter().map(event).collect(),
        exported_at: timestamp(now),
        profile: own(&record.profile),
        role: record.role.as_str(),
        sessions: record.sessions.into_iter().map(session).collect(),
        totp: record.factor.map(totp),
        recovery: record.recovery.map(recovery),
    }
}
