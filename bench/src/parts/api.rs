//! The handlers: parse as little as possible, use one part, answer.

use std::fmt;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap};
use axum::http::{HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Parts;
use super::data::User;

type App = State<Arc<Parts>>;

/// Why there is no answer.
#[derive(Debug)]
pub(super) struct Failed(pub(super) String);

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failed {}

impl From<sqlx::Error> for Failed {
    fn from(error: sqlx::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<redis::RedisError> for Failed {
    fn from(error: redis::RedisError) -> Self {
        Self(error.to_string())
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        (StatusCode::INTERNAL_SERVER_ERROR, self.0).into_response()
    }
}

/// The API of the user services, as far as the load speaks it.
pub(super) fn router(parts: Arc<Parts>) -> Router {
    Router::new()
        .route("/v1/register", post(register))
        .route("/v1/login", post(login))
        .route("/v1/token/refresh", post(refresh))
        .route("/v1/me", get(me))
        .route("/v1/users/{id}", get(user))
        .route("/v1/users/batch", post(batch))
        .with_state(parts)
}

#[derive(Deserialize)]
struct Registration {
    username: String,
    email: String,
    password: String,
}

/// One hash and three inserts.
async fn register(
    State(parts): App,
    Json(new): Json<Registration>,
) -> Result<impl IntoResponse, Failed> {
    let salt = rand::random();
    let hash = parts.hasher.hash(new.password, salt).await?;
    let (username, email) = (&new.username, &new.email);
    let id = parts.data.insert(username, email, &salt, &hash).await?;
    let account = json!({ "id": id.to_string(), "username": username, "email": email });
    Ok((StatusCode::CREATED, Json(account)))
}

#[derive(Deserialize)]
struct Credentials {
    username: String,
    password: String,
}

/// One hash, of which the password is found by one select.
async fn login(State(parts): App, Json(who): Json<Credentials>) -> Result<Json<Value>, Failed> {
    let (id, salt, wanted) = parts.data.password(&who.username).await?;
    let salt = salt.try_into();
    let salt = salt.map_err(|_| Failed("a salt of another length".to_owned()))?;
    let hash = parts.hasher.hash(who.password, salt).await?;
    match hash[..] == wanted {
        true => Ok(tokens(id)),
        false => Err(Failed("another password".to_owned())),
    }
}

#[derive(Deserialize)]
struct Refresh {
    refresh_token: String,
}

/// Two writes in one transaction.
async fn refresh(State(parts): App, Json(old): Json<Refresh>) -> Result<Json<Value>, Failed> {
    let user = number(&old.refresh_token)?;
    let next: [u8; 32] = rand::random();
    parts.data.exchange(user, &next).await?;
    Ok(tokens(user))
}

/// One GET; who is not there yet is put there.
async fn me(State(parts): App, headers: HeaderMap) -> Result<impl IntoResponse, Failed> {
    let token = headers
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let token = token.and_then(|text| text.strip_prefix("Bearer "));
    let id = token.ok_or_else(|| Failed("no token".to_owned()))?;
    let key = format!("parts:me:{id}");
    if let Some(json) = parts.data.cached(&key).await? {
        return Ok((JSON, json));
    }
    let user = parts.data.user(number(id)?).await?;
    let (email, profile) = (user.email.clone(), public(user));
    let json = json!({
        "id": profile.id, "username": profile.username, "email": email,
        "display_name": profile.display_name, "created_at": profile.created_at,
        "updated_at": profile.created_at,
    });
    let json = json.to_string();
    parts.data.cache(&key, &json).await?;
    Ok((JSON, json))
}

/// One select.
async fn user(State(parts): App, Path(id): Path<String>) -> Result<Json<Public>, Failed> {
    let user = parts.data.user(number(&id)?).await?;
    Ok(Json(public(user)))
}

#[derive(Deserialize)]
struct Batch {
    ids: Vec<String>,
}

/// One MGET; who is not there yet is put there.
async fn batch(State(parts): App, Json(batch): Json<Batch>) -> Result<impl IntoResponse, Failed> {
    let key = |id: &String| format!("parts:public:{id}");
    let keys: Vec<String> = batch.ids.iter().map(key).collect();
    let found = parts.data.all_cached(&keys).await?;
    let mut users = Vec::with_capacity(keys.len());
    for ((id, key), json) in batch.ids.iter().zip(&keys).zip(found) {
        let json = match json {
            Some(json) => json,
            None => {
                let public = public(parts.data.user(number(id)?).await?);
                let json = json!(public).to_string();
                parts.data.cache(key, &json).await?;
                json
            }
        };
        users.push(json);
    }
    Ok((JSON, format!("{{\"users\":[{}]}}", users.join(","))))
}

const JSON: [(HeaderName, &str); 1] = [(CONTENT_TYPE, "application/json")];

fn tokens(user: i64) -> Json<Value> {
    let token = user.to_string();
    Json(json!({
        "access_token": token, "refresh_token": token, "token_type": "Bearer", "expires_in": 300,
    }))
}

#[derive(Serialize)]
struct Public {
    id: String,
    username: String,
    display_name: Option<String>,
    created_at: String,
}

fn public(user: User) -> Public {
    let created = jiff::Timestamp::from_millisecond(user.created_at).unwrap_or_default();
    Public {
        id: user.id.to_string(),
        username: user.username,
        display_name: user.display_name,
        created_at: created.to_string(),
    }
}

fn number(text: &str) -> Result<i64, Failed> {
    text.parse().map_err(|_| Failed("no id".to_owned()))
}
