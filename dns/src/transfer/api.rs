//! The part of the admin API that is about zones.
//!
//! | request | |
//! |-|-|
//! | `GET /zones` | the zones that come from primaries, and those that others may copy |
//! | `POST /zones/{zone}/refresh` | look at the primary now |

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use chassis::problem::{CONTENT_TYPE, Problem};
use serde::Serialize;

use super::secondary::SecondaryReport;
use crate::learned::Learned;
use crate::zone::Name;

/// What `GET /zones` says.
#[derive(Serialize)]
struct Zones {
    secondaries: Vec<SecondaryReport>,
    copied: Vec<Copied>,
}

/// A zone that others may copy.
#[derive(Serialize)]
struct Copied {
    zone: String,
    serial: u32,
}

/// The routes of the admin listener that are about zones. Who may use them is judged before.
pub(crate) fn router(learned: Arc<Learned>) -> Router {
    Router::new()
        .route("/zones", get(zones))
        .route("/zones/{zone}/refresh", post(refresh))
        .with_state(learned)
}

async fn zones(State(learned): State<Arc<Learned>>) -> Response {
    let copied = learned.told.serials().into_iter();
    Json(Zones {
        secondaries: learned.secondaries.report(),
        copied: copied
            .map(|(zone, serial)| Copied { zone, serial })
            .collect(),
    })
    .into_response()
}

async fn refresh(State(learned): State<Arc<Learned>>, Path(zone): Path<String>) -> Response {
    let secondary = Name::from_text(&zone).and_then(|apex| learned.secondaries.get(&apex));
    match secondary {
        Some(secondary) => {
            secondary.wanted.notify_one();
            StatusCode::ACCEPTED.into_response()
        }
        None => {
            let problem = Problem::new(404, "unknown-name", "There is nothing of this name");
            let detail = format!("no zone `{zone}` comes from a primary");
            let body = problem.detail(detail).to_json();
            (
                StatusCode::NOT_FOUND,
                [(header::CONTENT_TYPE, CONTENT_TYPE)],
                body,
            )
                .into_response()
        }
    }
}
