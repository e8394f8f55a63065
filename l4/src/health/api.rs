//! The part of the admin API that is the balancer's own, for `control` and operators.
//!
//! | request | |
//! |-|-|
//! | `GET /l4/state` | listeners, and clusters with their endpoints |
//! | `GET /l4/clusters/{cluster}` | one cluster with its endpoints |
//! | `PUT /l4/clusters/{cluster}/endpoints/{address}` | `{"state": "down", "weight": 0}`; states are `up`, `down`, `auto`; what is absent or `null` is as it is configured |
//! | `PATCH /l4/clusters/{cluster}/endpoints/{address}` | the same, but what is absent stays as it is (RFC 7396) |
//! | `POST /l4/clusters/{cluster}/endpoints/{address}/drain` | as `PATCH` with `{"weight": 0}` |

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use chassis::health::{EndpointChange, NotSet};

use crate::serve::Shared;

/// The routes of the admin listener. Who may use them is judged before.
pub(crate) fn router(shared: Arc<Shared>) -> Router {
    let endpoint = "/l4/clusters/{cluster}/endpoints/{address}";
    Router::new()
        .route("/l4/state", get(state))
        .route("/l4/clusters/{cluster}", get(cluster))
        .route(endpoint, put(replace).patch(change))
        .route(&format!("{endpoint}/drain"), post(drain))
        .with_state(shared)
}

type Endpoint = Path<(String, String)>;

async fn state(State(shared): State<Arc<Shared>>) -> Response {
    Json(shared.report()).into_response()
}

async fn cluster(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
) -> Result<Response, NotSet> {
    let clusters = shared.report().clusters.into_iter();
    let found = { clusters }.find(|cluster| cluster.name == name);
    let unknown = || NotSet::Unknown(format!("cluster `{name}`"));
    Ok(Json(found.ok_or_else(unknown)?).into_response())
}

async fn replace(
    State(shared): State<Arc<Shared>>,
    Path(endpoint): Endpoint,
    body: Bytes,
) -> Result<StatusCode, NotSet> {
    let EndpointChange { state, weight } = NotSet::parse(&body)?;
    let whole = EndpointChange {
        state: Some(state.flatten()),
        weight: Some(weight.flatten()),
    };
    set(&shared, endpoint, whole).await
}

async fn change(
    State(shared): State<Arc<Shared>>,
    Path(endpoint): Endpoint,
    body: Bytes,
) -> Result<StatusCode, NotSet> {
    set(&shared, endpoint, NotSet::parse(&body)?).await
}

async fn drain(
    State(shared): State<Arc<Shared>>,
    Path(endpoint): Endpoint,
) -> Result<StatusCode, NotSet> {
    let change = EndpointChange {
        weight: Some(Some(0)),
        ..EndpointChange::default()
    };
    set(&shared, endpoint, change).await
}

async fn set(
    shared: &Shared,
    (cluster, address): (String, String),
    change: EndpointChange,
) -> Result<StatusCode, NotSet> {
    let unknown = |_| NotSet::Unknown(format!("endpoint `{address}`: it is no address and port"));
    let address: SocketAddr = address.parse().map_err(unknown)?;
    shared.health.set(&cluster, address, change).await?;
    // So that it holds for the next connection, and not a moment later.
    shared.follow();
    Ok(StatusCode::NO_CONTENT)
}
