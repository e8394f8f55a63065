//! The part of the admin API that is about health, for `control` and operators.
//!
//! | request | |
//! |-|-|
//! | `GET /policies` | every policy with its endpoints |
//! | `PATCH /policies/{policy}` | `{"spill": 0.25}` |
//! | `PATCH /policies/{policy}/endpoints/{address}` | `{"state": "down", "weight": 0}`; states are `up`, `down`, `auto` |
//!
//! What is absent stays as it is, `null` goes back to what is configured (RFC 7396).

use std::net::IpAddr;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, patch};
use axum::{Json, Router};
use chassis::health::NotSet;

use super::monitor::Health;

/// The routes of the admin listener that are about health. Who may use them is judged before.
pub fn router(health: Arc<Health>) -> Router {
    Router::new()
        .route("/policies", get(policies))
        .route("/policies/{policy}", patch(set_policy))
        .route(
            "/policies/{policy}/endpoints/{address}",
            patch(set_endpoint),
        )
        .with_state(health)
}

async fn policies(State(health): State<Arc<Health>>) -> Response {
    Json(health.report()).into_response()
}

async fn set_policy(
    State(health): State<Arc<Health>>,
    Path(policy): Path<String>,
    body: Bytes,
) -> Result<StatusCode, NotSet> {
    health.set_policy(&policy, NotSet::parse(&body)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn set_endpoint(
    State(health): State<Arc<Health>>,
    Path((policy, address)): Path<(String, String)>,
    body: Bytes,
) -> Result<StatusCode, NotSet> {
    let address: IpAddr = address
        .parse()
        .map_err(|_| NotSet::Unknown(format!("endpoint `{address}`: it is no address")))?;
    health
        .set_endpoint(&policy, address, NotSet::parse(&body)?)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
