//! Users, made through the API of whoever keeps them.

use std::io;
use std::time::Duration;

use serde_json::{Value, json};

use crate::load::{Connection, Requests, Target};

/// How many users a case has, and how many of them are logged in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Count {
    users: usize,
    sessions: usize,
}

/// Users that a service has.
#[derive(Clone, Debug, Default)]
pub(super) struct People {
    /// Their names.
    pub(super) names: Vec<String>,
    /// Their ids, in the same order.
    pub(super) ids: Vec<String>,
    /// Of the first of them.
    pub(super) sessions: Vec<Session>,
}

/// What a user who is logged in has.
#[derive(Clone, Debug)]
pub(super) struct Session {
    /// For the header `Authorization`.
    pub(super) access: String,
    /// For new tokens.
    pub(super) refresh: String,
}

/// What all log in with.
const PASSWORD: &str = "correct horse battery staple";

/// How long all may take to be made.
const PATIENCE: Duration = Duration::from_secs(60);

impl Count {
    /// So many, of whom the first are logged in.
    pub(super) const fn new(users: usize, sessions: usize) -> Self {
        Self { users, sessions }
    }
}

impl People {
    /// Registers them and logs them in.
    pub(super) fn make(target: &Target, count: Count) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let made = Self::make_one_by_one(target, count);
        runtime.block_on(async { tokio::time::timeout(PATIENCE, made).await? })
    }

    async fn make_one_by_one(target: &Target, count: Count) -> io::Result<Self> {
        let mut people = Self::default();
        let mut connection = Connection::open(target).await?;
        for number in 0..count.users {
            let name = format!("user-{number}");
            let account = tell(&mut connection, &registration(&name), 201).await?;
            people.ids.push(text(&account, "id")?);
            people.names.push(name);
        }
        for name in people.names.iter().take(count.sessions) {
            let tokens = tell(&mut connection, &login(name), 200).await?;
            people.sessions.push(Session {
                access: text(&tokens, "access_token")?,
                refresh: text(&tokens, "refresh_token")?,
            });
        }
        Ok(people)
    }
}

/// A request for a new account.
pub(super) fn registration(name: &str) -> Requests {
    let email = format!("{name}@bench.test");
    let account = json!({ "username": name, "email": email, "password": PASSWORD });
    Requests::json("/v1/register", "", &account.to_string())
}

/// A request for a user's tokens.
pub(super) fn login(name: &str) -> Requests {
    let credentials = json!({ "username": name, "password": PASSWORD });
    Requests::json("/v1/login", "", &credentials.to_string())
}

/// A text in an answer.
pub(super) fn text(answer: &Value, field: &str) -> io::Result<String> {
    let text = answer[field].as_str().map(str::to_owned);
    text.ok_or_else(|| io::Error::other(format!("an answer without {field}: {answer}")))
}

async fn tell(connection: &mut Connection, request: &Requests, wanted: u16) -> io::Result<Value> {
    let mut body = Vec::new();
    let answer = connection.exchange_seeing(request.at(0), |piece| body.extend(piece));
    let status = answer.await?.status;
    if status != wanted {
        let body = String::from_utf8_lossy(&body);
        return Err(io::Error::other(format!("status {status}: {body}")));
    }
    Ok(serde_json::from_slice(&body)?)
}
