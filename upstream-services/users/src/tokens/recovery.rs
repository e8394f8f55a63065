//! Recovery tokens: random, sent to the user's e-mail address, kept as a hash only.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use store::Id;

/// user id (8 bytes) | 256 random bits, as base64url. The id only says where to look.
#[derive(Clone)]
pub(crate) struct RecoveryToken([u8; LENGTH]);

impl RecoveryToken {
    pub(crate) fn new(user: Id) -> Self {
        let mut bytes = [0; LENGTH];
        bytes[..8].copy_from_slice(&user.as_i64().to_be_bytes());
        bytes[8..].copy_from_slice(&rand::random::<[u8; 32]>());
        Self(bytes)
    }

    /// Reads a token; `None` if it cannot be one.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let token = Self(bytes.try_into().ok()?);
        token.user().map(|_| token.clone())
    }

    /// The text for the user.
    pub(crate) fn reveal(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// What is stored.
    pub(crate) fn hash(&self) -> Vec<u8> {
        Sha256::digest(self.0).to_vec()
    }

    pub(crate) fn user(&self) -> Option<Id> {
        let bytes = self.0[..8].try_into().ok()?;
        Id::from_i64(i64::from_be_bytes(bytes))
    }
}

const LENGTH: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_reads_back_and_is_different_every_time() {
        let user = "123".parse().unwrap();
        let token = RecoveryToken::new(user);
        let read = RecoveryToken::parse(&token.reveal()).unwrap();
        assert_eq!((read.user(), read.hash()), (Some(user), token.hash()));
        assert_ne!(RecoveryToken::new(user).hash(), token.hash());
        let longer = format!("{}A", token.reveal());
        let negative = URL_SAFE_NO_PAD.encode([0xff; LENGTH]);
        for wrong in ["", "x", &token.reveal()[1..], &longer, &negative] {
            assert!(RecoveryToken::parse(wrong).is_none());
        }
    }
}
