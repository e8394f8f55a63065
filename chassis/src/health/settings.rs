//! What operators and `control` have set at the admin API, and how it is changed.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::state_file::{Kept, StateFile, StateFileError};
use crate::problem::{CONTENT_TYPE, Problem};

/// What is set, and the file that keeps it.
#[derive(Debug, Default)]
pub struct Settings<T> {
    /// Held while the state file or what it is for changes.
    changing: tokio::sync::Mutex<()>,
    held: Mutex<Held<T>>,
}

#[derive(Debug, Default)]
struct Held<T> {
    set: T,
    /// None while nothing is kept.
    path: Option<PathBuf>,
}

/// What is set for an endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndpointOverride {
    /// What it is, whatever checks say.
    #[serde(default, skip_serializing_if = "Forced::is_auto")]
    pub state: Forced,
    /// Its weight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
}

/// What an endpoint is, whatever checks say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Forced {
    /// It serves.
    Up,
    /// It does not.
    Down,
    /// What checks say.
    #[default]
    Auto,
}

impl Forced {
    fn is_auto(&self) -> bool {
        *self == Self::Auto
    }
}

/// A change of what is set for an endpoint: what is absent stays, `null` goes back to what is configured (RFC 7396).
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndpointChange {
    /// What it is to be.
    #[serde(default, deserialize_with = "present")]
    pub state: Option<Option<Forced>>,
    /// The weight that it is to have.
    #[serde(default, deserialize_with = "present")]
    pub weight: Option<Option<u32>>,
}

impl EndpointChange {
    /// Changes what is set.
    pub fn apply(self, to: &mut EndpointOverride) {
        if let Some(state) = self.state {
            to.state = state.unwrap_or_default();
        }
        if let Some(weight) = self.weight {
            to.weight = weight;
        }
    }
}

/// Tells `null` from what is absent.
///
/// # Errors
/// When the value is of another type.
pub fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    value: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(value).map(Some)
}

/// Why nothing was set.
#[derive(Debug, thiserror::Error)]
pub enum NotSet {
    /// The client names what there is not.
    #[error("there is no {0}")]
    Unknown(String),
    /// The client asks for what cannot be.
    #[error("{0}")]
    Wrong(String),
    /// It could not be kept, and so it does not hold.
    #[error(transparent)]
    NotKept(#[from] StateFileError),
}

impl NotSet {
    /// Reads what is to be set.
    ///
    /// # Errors
    /// [`Self::Wrong`] when it is not what is expected.
    pub fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Self> {
        let wrong = |error: serde_json::Error| Self::Wrong(error.to_string());
        // Serde takes a list for the values of a struct in their order, and an empty one for none.
        let body: Map<String, Value> = serde_json::from_slice(body).map_err(wrong)?;
        serde_json::from_value(Value::Object(body)).map_err(wrong)
    }
}

impl IntoResponse for NotSet {
    fn into_response(self) -> Response {
        let problem = match &self {
            Self::Unknown(_) => Problem::new(404, "unknown-name", "There is nothing of this name"),
            Self::Wrong(_) => Problem::new(422, "invalid-change", "This cannot be set"),
            Self::NotKept(error) => {
                tracing::error!(%error, "not set");
                Problem::new(500, "not-kept", "The state file cannot be written")
            }
        };
        let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::BAD_REQUEST);
        let body = problem.detail(self.to_string()).to_json();
        (status, [(header::CONTENT_TYPE, CONTENT_TYPE)], body).into_response()
    }
}

impl<T: Kept + Send + 'static> Settings<T> {
    /// Keeps what is set in this file from now on. What is set stays, unless the file is another one.
    pub async fn follow(&self, file: Option<StateFile<T>>) {
        let _changing = self.changing.lock().await;
        let mut held = self.lock();
        let path = file.as_ref().map(|file| file.path.clone());
        if let Some(file) = file
            && held.path != path
        {
            held.set = file.kept;
        }
        held.path = path;
    }

    /// Reads the file again: another process may have changed it, until this one took its place.
    ///
    /// # Errors
    /// When it cannot be read, or is not what was written; nothing has changed then.
    pub async fn reread(&self) -> Result<(), StateFileError> {
        let _changing = self.changing.lock().await;
        let path = self.lock().path.clone();
        if let Some(path) = path {
            self.lock().set = StateFile::read(&path)?.kept;
        }
        Ok(())
    }

    /// Changes what is set. It is kept when this returns: it is written first, so that what holds is kept.
    ///
    /// # Errors
    /// When it cannot be kept; nothing has changed then.
    pub async fn change(&self, change: impl FnOnce(&mut T)) -> Result<(), NotSet> {
        let _changing = self.changing.lock().await;
        let (mut set, path) = {
            let held = self.lock();
            (held.set.clone(), held.path.clone())
        };
        change(&mut set);
        if let Some(path) = path {
            let kept = set.clone();
            let writing = tokio::task::spawn_blocking(move || StateFile { path, kept }.write());
            writing
                .await
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
        }
        self.lock().set = set;
        Ok(())
    }

    /// Looks at what is set.
    pub fn look<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        look(&self.lock().set)
    }

    fn lock(&self) -> MutexGuard<'_, Held<T>> {
        // Whatever panicked with it has changed single values only.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_object_sets_nothing() {
        for body in ["[]", "[\"down\"]", "null", "3"] {
            let change = NotSet::parse::<EndpointChange>(body.as_bytes());
            assert!(matches!(change, Err(NotSet::Wrong(_))), "{body}");
        }
        let change: EndpointChange = NotSet::parse(b"{\"weight\": null}").unwrap();
        assert_eq!((change.state, change.weight), (None, Some(None)));
    }
}
