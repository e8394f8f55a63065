//! `GET /aliases` of the admin listener: what is known of the targets of aliases.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};

use crate::learned::Learned;

/// The routes that are about aliases. Who may use them is judged before.
pub(crate) fn router(learned: Arc<Learned>) -> Router {
    Router::new()
        .route("/aliases", get(report))
        .with_state(learned)
}

async fn report(State(learned): State<Arc<Learned>>) -> Response {
    Json(learned.aliases.report()).into_response()
}
