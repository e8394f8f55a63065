//! Tokens: signed access tokens that say who somebody is, opaque refresh tokens that stand for a
//! session, recovery tokens that stand for a forgotten password.

mod jwt;
mod keys;
mod recovery;
mod refresh;

pub(crate) use jwt::{Access, Issuer};
pub(crate) use recovery::RecoveryToken;
pub(crate) use refresh::RefreshToken;
