//! `/v1/me/sessions`: where one is logged in.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::CACHE_CONTROL;
use axum::response::IntoResponse;
use serde::Serialize;
use store::{Freshness, Id, Time};
use utoipa::ToSchema;

use super::bearer::Bearer;
use super::seen::Seen;
use super::{App, timestamp, to_the_end};
use crate::Error;
use crate::client::Client;
use crate::sessions::Device;

/// Where one is logged in.
#[derive(Serialize, ToSchema)]
pub(super) struct Sessions {
    /// The open sessions, those used last first, at most 100.
    items: Vec<Session>,
}

/// An open session.
#[derive(Serialize, ToSchema)]
pub(super) struct Session {
    /// The session's id.
    #[schema(value_type = String, example = "128512093184000123")]
    id: Id,
    /// Whether it is the one that asks.
    current: bool,
    /// When somebody logged in.
    #[schema(format = DateTime, example = "2026-11-28T12:00:00Z")]
    created_at: String,
    /// When its refresh token was last exchanged.
    #[schema(format = DateTime, example = "2026-11-28T12:00:00Z")]
    last_used_at: String,
    /// From which address it was last used in this way, if the gateway told it.
    #[schema(required)]
    address: Option<String>,
    /// What the client called itself then.
    #[schema(required)]
    agent: Option<String>,
}

/// List one's own sessions
#[utoipa::path(
    get, path = "/v1/me/sessions", operation_id = "list_sessions", tag = "sessions", security(("bearer" = [])),
    responses((status = 200, description = "The open sessions", body = Sessions))
)]
pub(super) async fn list(
    State(app): State<App>,
    Bearer(access): Bearer,
    told: Seen,
) -> Result<impl IntoResponse, Error> {
    let freshness = Freshness::After(told.position);
    let devices = app.sessions.devices(access.user, Time::now(), &freshness);
    let session = |device: Device| Session {
        id: device.session,
        current: device.session == access.session,
        created_at: timestamp(device.created_at),
        last_used_at: timestamp(device.last_used_at),
        address: device.client.address,
        agent: device.client.agent,
    };
    let items = devices.await?.into_iter().map(session).collect();
    Ok((
        [(CACHE_CONTROL, "no-store")],
        axum::Json(Sessions { items }),
    ))
}

/// End one of one's own sessions
///
/// Its tokens are refused from now on, as after a logout.
#[utoipa::path(
    delete, path = "/v1/me/sessions/{id}", operation_id = "end_session", tag = "sessions", security(("bearer" = [])),
    params(("id" = String, Path, description = "The session's id")),
    responses(
        (status = 204, description = "The session has ended",
         headers(("tidegate-seen" = String, description = "What the client has seen now: to be sent with its next requests"))),
        (status = 404, description = "The user has no session with this id, or it has ended"),
    )
)]
pub(super) async fn end(
    State(app): State<App>,
    Bearer(access): Bearer,
    told: Seen,
    client: Client,
    Path(id): Path<String>,
) -> Result<impl IntoResponse, Error> {
    let session = id.parse().map_err(|_| Error::NoSession)?;
    let end = async move {
        let now = Time::now();
        app.sessions.end_device(access, session, client, now).await
    };
    let position = to_the_end(end).await?;
    Ok((told.at(position), StatusCode::NO_CONTENT))
}
