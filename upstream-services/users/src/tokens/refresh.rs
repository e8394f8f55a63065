//! Refresh tokens: random, opaque to clients, kept as a hash only.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use store::Id;

/// user id (8 bytes) | session id (8 bytes) | 256 random bits, as base64url.
///
/// The ids only say where to look; the random bits are the secret. Look-ups go by SHA-256 of the
/// whole token, so no comparison depends on the secret's bytes.
#[derive(Clone)]
pub(crate) struct RefreshToken([u8; LENGTH]);

impl RefreshToken {
    pub(crate) fn new(user: Id, session: Id) -> Self {
        let mut bytes = [0; LENGTH];
        bytes[..8].copy_from_slice(&user.as_i64().to_be_bytes());
        bytes[8..16].copy_from_slice(&session.as_i64().to_be_bytes());
        bytes[16..].copy_from_slice(&rand::random::<[u8; 32]>());
        Self(bytes)
    }

    /// Reads a token; `None` if it cannot be one.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let token = Self(bytes.try_into().ok()?);
        token.user().and(token.session()).map(|_| token.clone())
    }

    /// The text for the client.
    pub(crate) fn reveal(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// What is stored.
    pub(crate) fn hash(&self) -> Vec<u8> {
        Sha256::digest(self.0).to_vec()
    }

    pub(crate) fn user(&self) -> Option<Id> {
        self.id(0)
    }

    pub(crate) fn session(&self) -> Option<Id> {
        self.id(8)
    }

    fn id(&self, at: usize) -> Option<Id> {
        let bytes = self.0[at..at + 8].try_into().ok()?;
        Id::from_i64(i64::from_be_bytes(bytes))
    }
}

const LENGTH: usize = 48;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_reads_back_and_is_different_every_time() {
        let (user, session) = ("123".parse().unwrap(), "456".parse().unwrap());
        let token = RefreshToken::new(user, session);
        let read = RefreshToken::parse(&token.reveal()).unwrap();
        assert_eq!((read.user(), read.session()), (Some(user), Some(session)));
        assert_eq!(read.hash(), token.hash());
        assert_ne!(RefreshToken::new(user, session).hash(), token.hash());
        for wrong in [
            "",
            "x",
            &token.reveal()[1..],
            &format!("{}A", token.reveal()),
        ] {
            assert!(RefreshToken::parse(wrong).is_none());
        }
        let negative = URL_SAFE_NO_PAD.encode([0xff; LENGTH]);
        assert!(RefreshToken::parse(&negative).is_none());
    }
}
