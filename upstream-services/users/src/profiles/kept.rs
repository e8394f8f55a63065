//! A profile as the cache keeps it: with its answers, once they were made.

use std::ops::Deref;
use std::sync::OnceLock;

use axum::body::Bytes;
use axum::http::HeaderValue;
use serde::{Deserialize, Serialize};

use super::Profile;

/// A profile, and what was made of it to be answered: most are asked for more often than they change.
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Kept {
    profile: Profile,
    #[serde(skip)]
    own: OnceLock<Answer>,
    #[serde(skip)]
    public: OnceLock<Bytes>,
}

/// What its owner is answered.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// The body.
    pub(crate) json: Bytes,
    /// Its entity tag.
    pub(crate) tag: HeaderValue,
}

impl Kept {
    /// What its owner is answered, made by `make` the first time.
    pub(crate) fn own(&self, make: impl FnOnce(&Profile) -> Answer) -> &Answer {
        self.own.get_or_init(|| make(&self.profile))
    }

    /// What others are answered (JSON), made by `make` the first time.
    pub(crate) fn public(&self, make: impl FnOnce(&Profile) -> Bytes) -> &Bytes {
        self.public.get_or_init(|| make(&self.profile))
    }
}

impl From<Profile> for Kept {
    fn from(profile: Profile) -> Self {
        Self {
            profile,
            own: OnceLock::new(),
            public: OnceLock::new(),
        }
    }
}

impl Deref for Kept {
    type Target = Profile;

    fn deref(&self) -> &Profile {
        &self.profile
    }
}
