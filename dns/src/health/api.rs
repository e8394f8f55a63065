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
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, patch};
use axum::{Json, Router};
use chassis::problem::{CONTENT_TYPE, Problem};
use serde::de::DeserializeOwned;

use super::monitor::Health;
use super::set::NotSet;

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
) -> Result<StatusCode, Refusal> {
    health.set_policy(&policy, parse(&body)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn set_endpoint(
    State(health): State<Arc<Health>>,
    Path((policy, address)): Path<(String, String)>,
    body: Bytes,
) -> Result<StatusCode, Refusal> {
    let address: IpAddr = address
        .parse()
        .map_err(|_| NotSet::Unknown(format!("endpoint `{address}`: it is no address")))?;
    health.set_endpoint(&policy, address, parse(&body)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, NotSet> {
    serde_json::from_slice(body).map_err(|error| NotSet::Wrong(error.to_string()))
}

/// A refusal as an answer.
struct Refusal(NotSet);

impl From<NotSet> for Refusal {
    fn from(why: NotSet) -> Self {
        Self(why)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let problem = match &self.0 {
            NotSet::Unknown(_) => {
                Problem::new(404, "unknown-name", "There is nothing of this name")
            }
            NotSet::Wrong(_) => Problem::new(422, "invalid-change", "This cannot be set"),
            NotSet::NotKept(error) => {
                tracing::error!(%error, "not set");
                Problem::new(500, "not-kept", "The state file cannot be written")
            }
        };
        let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::BAD_REQUEST);
        let body = problem.detail(self.0.to_string()).to_json();
        (status, [(header::CONTENT_TYPE, CONTENT_TYPE)], body).into_response()
    }
}
