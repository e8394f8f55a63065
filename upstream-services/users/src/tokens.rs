//! Tokens: signed access tokens that say who somebody is, opaque refresh tokens that stand for a
//! session.

mod jwt;
mod keys;
mod refresh;

pub(crate) use jwt::{Access, Issuer};
pub(crate) use refresh::RefreshToken;
