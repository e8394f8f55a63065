//! Query strings, with refusals that name the parameter and never repeat a value.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use crate::Error;

/// The parameters of a request, as names and values.
pub(super) struct Query(Vec<(String, String)>);

impl<S: Sync> FromRequestParts<S> for Query {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        let query = axum::extract::Query::try_from_uri(&parts.uri);
        let axum::extract::Query(parameters) =
            query.map_err(|_| refusal("query", "cannot be read"))?;
        Ok(Self(parameters))
    }
}

impl Query {
    /// Refuses parameters that nobody asked for: a name misspelt would be a wish ignored.
    pub(super) fn refuse_others(&self, known: &[&str]) -> Result<(), Error> {
        let is_known = |name: &str| known.contains(&name);
        match self.0.iter().find(|(name, _)| !is_known(name)) {
            Some((name, _)) => Err(refusal(name, "there is no such parameter")),
            None => Ok(()),
        }
    }

    /// The value of a parameter, if it is there.
    pub(super) fn value<T>(
        &self,
        name: &str,
        parse: impl Fn(&str) -> Option<T>,
        why: &str,
    ) -> Result<Option<T>, Error> {
        let mut values = self.0.iter().filter(|(other, _)| other == name);
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some((_, text)), None) => parse(text).map(Some).ok_or_else(|| refusal(name, why)),
            (Some(_), Some(_)) => Err(refusal(name, "is there twice")),
        }
    }
}

fn refusal(name: &str, why: &str) -> Error {
    Error::Invalid {
        field: name.chars().take(64).collect(),
        why: why.to_owned(),
    }
}
