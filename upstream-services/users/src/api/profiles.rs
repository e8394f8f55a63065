//! `/v1/me`, `/v1/users/{id}` and `/v1/users/batch`.

use std::collections::HashMap;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderMap};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Deserializer, Serialize};
use store::{Id, Time};
use utoipa::ToSchema;

use super::bearer::Bearer;
use super::body::Json;
use super::seen::Seen;
use super::{App, etag, timestamp, to_the_end};
use crate::Error;
use crate::client::Client;
use crate::fields::{DisplayName, Email, Phone};
use crate::freshness::seen;
use crate::profiles::{Answer, Change, Kept, Profile};

/// One's own profile.
#[derive(Serialize, ToSchema)]
pub(super) struct Me {
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
    /// When the account was made.
    #[schema(format = DateTime, example = "2026-11-28T12:00:00Z")]
    created_at: String,
    /// When the profile last changed.
    #[schema(format = DateTime, example = "2026-11-28T12:00:00Z")]
    updated_at: String,
}

/// What others see of a user.
#[derive(Serialize, ToSchema)]
pub(super) struct PublicProfile {
    /// The user's id.
    #[schema(value_type = String, example = "128512093184000123")]
    id: Id,
    /// The user name.
    username: String,
    /// The name to show, if there is one.
    #[schema(required)]
    display_name: Option<String>,
    /// When the account was made.
    #[schema(format = DateTime, example = "2026-11-28T12:00:00Z")]
    created_at: String,
}

/// What to change; what is absent stays (RFC 7396).
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ChangeRequest {
    /// A name to show, 1 to 64 characters; null takes it away.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, required = false, max_length = 64)]
    display_name: Option<Option<String>>,
    /// A new e-mail address.
    #[serde(default, deserialize_with = "text_alone")]
    #[schema(nullable = false, format = Email, max_length = 254, example = "anna@example.org")]
    email: Option<String>,
    /// A new phone number, as E.164 writes it; null takes it away.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, required = false, pattern = "^\\+[1-9][0-9]{6,14}$")]
    phone: Option<Option<String>>,
}

/// Whose profiles are wanted.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BatchRequest {
    /// Up to 100 ids.
    #[schema(value_type = Vec<String>, max_items = 100)]
    ids: Vec<Id>,
}

/// The profiles found: what [`joined`] writes.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it is the schema alone")]
pub(super) struct Batch {
    /// In the order asked for; ids without a user are left out.
    users: Vec<PublicProfile>,
}

/// Read one's own profile
#[utoipa::path(
    get, path = "/v1/me", operation_id = "read_me", tag = "profiles", security(("bearer" = [])),
    params(("If-None-Match" = Option<String>, Header, description = "The ETag the client has")),
    responses(
        (status = 200, description = "The profile", body = Me,
         headers(
             ("ETag" = String, description = "Changes with every change of the profile"),
             ("tidegate-seen" = String, description = "What the client has seen now: to be sent with its next requests"),
         )),
        (status = 304, description = "The client has the newest profile",
         headers(
             ("ETag" = String, description = "That of the client"),
             ("tidegate-seen" = String, description = "What the client has seen now: to be sent with its next requests"),
         )),
        (status = 404, description = "The account has just been deleted"),
    )
)]
pub(super) async fn me(
    State(app): State<App>,
    Bearer(access): Bearer,
    told: Seen,
    headers: HeaderMap,
) -> Result<Response, Error> {
    // Who has a session has a profile.
    let seen = seen(told.profile.max(1), &told.position);
    let profile = app.profiles.get(access.user, &seen).await?;
    let profile = profile.ok_or(Error::NotFound)?;
    let seen = Seen::new(profile.version, told.position);
    let answer = private(seen, &profile);
    if etag::none_match_fails(&headers, &answer.headers()[ETAG]) {
        let (mut head, _) = answer.into_parts();
        head.status = StatusCode::NOT_MODIFIED;
        head.headers.remove(CONTENT_TYPE);
        return Ok(Response::from_parts(head, Body::empty()));
    }
    Ok(answer)
}

/// Change one's own profile
///
/// With If-Match only if nobody changed it since.
#[utoipa::path(
    patch, path = "/v1/me", operation_id = "change_me", tag = "profiles", security(("bearer" = [])),
    request_body = ChangeRequest,
    params(("If-Match" = Option<String>, Header, description = "The ETag the change is meant for")),
    responses(
        (status = 200, description = "The changed profile", body = Me,
         headers(
             ("ETag" = String, description = "The new one"),
             ("tidegate-seen" = String, description = "What the client has seen now: to be sent with its next requests"),
         )),
        (status = 404, description = "The account has just been deleted"),
        (status = 409, description = "The e-mail address or the phone number is taken"),
        (status = 412, description = "The profile has changed since"),
    )
)]
pub(super) async fn change_me(
    State(app): State<App>,
    Bearer(access): Bearer,
    told: Seen,
    client: Client,
    headers: HeaderMap,
    Json(request): Json<ChangeRequest>,
) -> Result<Response, Error> {
    let name = |text: String| DisplayName::parse(&text);
    let phone = |text: String| Phone::parse(&text);
    let change = Change {
        display_name: request
            .display_name
            .map(|text| text.map(name).transpose())
            .transpose()?,
        email: request.email.as_deref().map(Email::parse).transpose()?,
        phone: request
            .phone
            .map(|text| text.map(phone).transpose())
            .transpose()?,
    };
    let changed = to_the_end(async move {
        let fits = |current: &Profile| etag::match_holds(&headers, &etag::of(current));
        app.profiles
            .change((access, &client), &change, fits, Time::now())
            .await
    });
    let (profile, position) = changed.await?;
    let seen = Seen::new(profile.version, position.unwrap_or(told.position));
    Ok(private(seen, &profile))
}

/// Read a user's public profile
#[utoipa::path(
    get, path = "/v1/users/{id}", operation_id = "read_user", tag = "profiles", security(("bearer" = [])),
    params(("id" = String, Path, description = "The user's id")),
    responses(
        (status = 200, description = "The public profile", body = PublicProfile),
        (status = 404, description = "There is no user with this id"),
    )
)]
pub(super) async fn user(
    State(app): State<App>,
    Bearer(asking): Bearer,
    told: Seen,
    Path(id): Path<String>,
) -> Result<Response, Error> {
    let id = id.parse().map_err(|_| Error::NotFound)?;
    let version = match id == asking.user {
        true => told.profile.max(1),
        false => 0,
    };
    let seen = seen(version, &told.position);
    let profile = app.profiles.get(id, &seen).await?;
    let profile = profile.ok_or(Error::NotFound)?;
    Ok(json(profile.public(public).clone()))
}

/// Read many public profiles
#[utoipa::path(
    post, path = "/v1/users/batch", operation_id = "read_users", tag = "profiles", security(("bearer" = [])),
    request_body = BatchRequest,
    responses((status = 200, description = "The profiles found", body = Batch))
)]
pub(super) async fn batch(
    State(app): State<App>,
    Bearer(asking): Bearer,
    told: Seen,
    Json(request): Json<BatchRequest>,
) -> Result<Response, Error> {
    if request.ids.len() > BATCH_LIMIT {
        return Err(Error::Invalid {
            field: "ids".to_owned(),
            why: "must be at most 100".to_owned(),
        });
    }
    let mut places = HashMap::with_capacity(request.ids.len());
    for (place, id) in request.ids.into_iter().enumerate() {
        places.entry(id).or_insert(place);
    }
    let (own, others): (Vec<_>, _) = places.keys().partition(|id| **id == asking.user);
    let mut found = app.profiles.many(others).await?;
    if !own.is_empty() {
        let seen = seen(told.profile, &told.position);
        found.extend(app.profiles.get(asking.user, &seen).await?);
    }
    found.sort_by_key(|profile| places.get(&profile.id));
    Ok(json(joined(&found)))
}

/// Keeps apart what is null from what is absent.
fn present<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(value).map(Some)
}

/// What may be absent, and not null: there is no account without it.
fn text_alone<'de, D: Deserializer<'de>>(value: D) -> Result<Option<String>, D::Error> {
    String::deserialize(value).map(Some)
}

/// What the owner of a profile is answered.
fn private(seen: Seen, profile: &Kept) -> Response {
    let answer = profile.own(|profile| Answer {
        json: text(&own(profile)),
        tag: etag::of(profile),
    });
    let mut response = json(answer.json.clone());
    let headers = response.headers_mut();
    headers.insert(ETAG, answer.tag.clone());
    let private = HeaderValue::from_static("private, no-cache");
    headers.insert(CACHE_CONTROL, private);
    (seen, response).into_response()
}

/// The body of a [`Batch`].
fn joined(profiles: &[Arc<Kept>]) -> Bytes {
    let texts: Vec<_> = profiles.iter().map(|kept| kept.public(public)).collect();
    let length = texts.iter().map(|text| text.len() + 1).sum::<usize>();
    let mut body = Vec::with_capacity(length + 16);
    body.extend_from_slice(b"{\"users\":[");
    for (place, text) in texts.into_iter().enumerate() {
        if place > 0 {
            body.push(b',');
        }
        body.extend_from_slice(text);
    }
    body.extend_from_slice(b"]}");
    body.into()
}

fn json(body: Bytes) -> Response {
    let mut response = Response::new(Body::from(body));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

fn text(value: &impl Serialize) -> Bytes {
    let text = serde_json::to_vec(value);
    text.expect("texts and numbers are always JSON").into()
}

pub(super) fn own(profile: &Profile) -> Me {
    Me {
        id: profile.id,
        username: profile.username.clone(),
        email: profile.email.clone(),
        phone: profile.phone.clone(),
        display_name: profile.display_name.clone(),
        created_at: timestamp(profile.created_at),
        updated_at: timestamp(profile.updated_at),
    }
}

fn public(profile: &Profile) -> Bytes {
    text(&PublicProfile {
        id: profile.id,
        username: profile.username.clone(),
        display_name: profile.display_name.clone(),
        created_at: timestamp(profile.created_at),
    })
}

const BATCH_LIMIT: usize = 100;
