//! Who is asking: access tokens in the Authorization header (RFC 6750).

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use store::Time;

use super::App;
use super::seen::Seen;
use crate::Error;
use crate::tokens::Access;

/// The user and session of a valid access token whose session is open.
pub(super) struct Bearer(pub(super) Access);

impl FromRequestParts<App> for Bearer {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Error> {
        let header = parts.headers.get(AUTHORIZATION);
        let header = header.and_then(|value| value.to_str().ok());
        let token = header.and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
        });
        let Some(token) = token else {
            return Err(Error::Unauthenticated { presented: false });
        };
        let access = app.tokens.verify(token);
        let access = access.ok_or(Error::Unauthenticated { presented: true })?;
        let Ok(seen) = Seen::from_request_parts(parts, app).await;
        let live = app.sessions.is_live(access, &seen.position, Time::now());
        match live.await? {
            true => Ok(Self(access)),
            false => Err(Error::Unauthenticated { presented: true }),
        }
    }
}
