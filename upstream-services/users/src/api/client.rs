//! The client of a request, as the gateway tells in its headers.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::header::USER_AGENT;
use axum::http::request::Parts;

use crate::client::Client;

impl<S: Sync> FromRequestParts<S> for Client {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        // Several lines are one list.
        let hops = parts.headers.get_all("x-forwarded-for").iter().next_back();
        let agent = parts.headers.get(USER_AGENT);
        let agent = agent.map(|agent| String::from_utf8_lossy(agent.as_bytes()));
        Ok(Self::new(
            hops.and_then(|hops| hops.to_str().ok()),
            agent.as_deref(),
        ))
    }
}
