//! `GET /v1/me/history`.

use axum::extract::State;
use axum::http::header::CACHE_CONTROL;
use axum::response::IntoResponse;
use serde::Serialize;
use store::{Freshness, Id, Page, Time};
use utoipa::{IntoParams, ToSchema};

use super::bearer::Bearer;
use super::query::Query;
use super::seen::Seen;
use super::{App, timestamp};
use crate::Error;

/// Which part of the history.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes what `wanted` reads")]
pub(super) struct HistoryQuery {
    /// At most so many events.
    #[param(minimum = 1, maximum = 100, default = 20)]
    limit: Option<u16>,
    /// Those before this one: `next` of the page before.
    #[param(value_type = Option<String>)]
    before: Option<Id>,
}

/// A part of the history.
#[derive(Serialize, ToSchema)]
pub(super) struct History {
    /// What happened, the newest first.
    items: Vec<Event>,
    /// `before` of the next page; null when this is the last.
    #[schema(required, value_type = Option<String>)]
    next: Option<Id>,
}

/// Something that happened to the account.
#[derive(Serialize, ToSchema)]
pub(super) struct Event {
    /// The event's id.
    #[schema(value_type = String, example = "128512093184000123")]
    id: Id,
    /// `login`, `login_failed` (a wrong password), `refresh_reuse` (a refresh token came twice: its session has ended),
    /// `logout`, `session_revoked` (ended from another one), `password_change` or `email_change`. There may be more some day.
    #[schema(example = "login")]
    kind: String,
    /// When it happened.
    #[schema(format = DateTime, example = "2026-11-28T12:00:00Z")]
    time: String,
    /// From which address, if the gateway told it.
    #[schema(required)]
    address: Option<String>,
    /// What the client called itself: the first 200 characters of its `User-Agent`.
    #[schema(required)]
    agent: Option<String>,
    /// The session it happened in, or that ended; null for a wrong password.
    #[schema(required, value_type = Option<String>)]
    session: Option<Id>,
}

/// Read one's own history
///
/// Logins, right and wrong, and changes of the account. A login is in it a moment later.
#[utoipa::path(
    get, path = "/v1/me/history", operation_id = "read_history", tag = "history", security(("bearer" = [])),
    params(HistoryQuery),
    responses(
        (status = 200, description = "A page of the history", body = History),
        (status = 422, description = "A parameter is unknown or not valid; the detail names it"),
    )
)]
pub(super) async fn history(
    State(app): State<App>,
    Bearer(access): Bearer,
    told: Seen,
    query: Query,
) -> Result<impl IntoResponse, Error> {
    let page = wanted(&query)?;
    // One more tells whether there are more.
    let ask = Page {
        limit: page.limit + 1,
        ..page
    };
    let freshness = Freshness::After(told.position);
    let found = app
        .history
        .newest(access.user, ask, Time::now(), &freshness);
    let mut found = found.await?;
    let more = found.len() > usize::from(page.limit);
    found.truncate(page.limit.into());
    let next = found.last().filter(|_| more).map(|last| last.id);
    let items = found.into_iter().map(|entry| Event {
        id: entry.id,
        kind: entry.kind,
        time: timestamp(entry.at),
        address: entry.address,
        agent: entry.agent,
        session: entry.session,
    });
    let history = History {
        items: items.collect(),
        next,
    };
    Ok(([(CACHE_CONTROL, "no-store")], axum::Json(history)))
}

fn wanted(query: &Query) -> Result<Page, Error> {
    query.refuse_others(&["limit", "before"])?;
    let number = |text: &str| {
        text.parse()
            .ok()
            .filter(|number| (1..=100).contains(number))
    };
    let limit = query.value("limit", number, "must be a number from 1 to 100")?;
    let before = query.value(
        "before",
        |text| text.parse().ok(),
        "must be the id of an event",
    )?;
    Ok(Page {
        limit: limit.unwrap_or(20),
        before,
    })
}
