//! Access tokens: JWTs (RFC 7519) signed with EdDSA (RFC 8037), by nothing else.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use jsonwebtoken::{Algorithm, Header, Validation};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use store::{Id, Time};

use super::keys::Keyset;
use crate::Error;
use crate::admins::Role;
use crate::config::Config;

/// Whom an access token names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Access {
    pub(crate) user: Id,
    pub(crate) session: Id,
}

/// Makes access tokens and checks them.
pub(crate) struct Issuer {
    keys: ArcSwap<Keyset>,
    dir: PathBuf,
    rotate_after: Duration,
    issuer: String,
    audience: String,
    ttl: Duration,
    validation: Validation,
    read_at: AtomicI64,
    /// Tokens that were verified, by their SHA-256: most come many times, and a signature costs more than all the rest of a request.
    verified: moka::sync::Cache<[u8; 32], Verified>,
}

/// What a token that was verified says.
#[derive(Clone)]
struct Verified {
    access: Access,
    /// Seconds since the Unix epoch.
    exp: i64,
    /// By which keys it was.
    keys: Arc<Keyset>,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: Id,
    sid: Id,
    iat: i64,
    nbf: i64,
    exp: i64,
    jti: String,
    /// What the user may do, for others: this service looks it up.
    #[serde(default)]
    role: Role,
}

impl Issuer {
    /// Reads the keys; makes the first one if there is none.
    pub(crate) fn open(config: &Config, now: Time) -> Result<Self, Error> {
        let dir = config.keys_dir();
        let tokens = &config.tokens;
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_issuer(&[&tokens.issuer]);
        validation.set_audience(&[&tokens.audience]);
        validation.set_required_spec_claims(&["exp", "nbf", "iss", "aud", "sub"]);
        // Checked with another leeway than `exp`.
        validation.validate_nbf = false;
        validation.leeway = LEEWAY.unsigned_abs();
        Ok(Self {
            keys: ArcSwap::from_pointee(Keyset::read(&dir, *tokens.rotate_after)?),
            dir,
            rotate_after: *tokens.rotate_after,
            issuer: tokens.issuer.clone(),
            audience: tokens.audience.clone(),
            ttl: *tokens.access_ttl,
            validation,
            read_at: AtomicI64::new(now.as_millis()),
            verified: moka::sync::Cache::builder()
                .max_capacity(REMEMBERED)
                .time_to_live(*tokens.access_ttl)
                .build(),
        })
    }

    /// Reads the directory again. On an error the keys in use stay.
    pub(crate) fn reload(&self) -> Result<(), Error> {
        let keys = Keyset::read(&self.dir, self.rotate_after)?;
        self.keys.store(Arc::new(keys));
        Ok(())
    }

    /// The published keys, as JSON.
    pub(crate) fn jwks(&self) -> String {
        self.keys.load().jwks.clone()
    }

    /// How long a token is valid.
    pub(crate) const fn ttl(&self) -> Duration {
        self.ttl
    }

    /// A token for a session.
    pub(crate) fn issue(&self, access: Access, role: Role, now: Time) -> Result<String, Error> {
        let keys = self.keys.load();
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = Some(keys.kid.clone());
        let claims = Claims {
            iss: self.issuer.clone(),
            aud: self.audience.clone(),
            sub: access.user,
            sid: access.session,
            iat: now.as_secs(),
            nbf: now.as_secs(),
            exp: now.plus(self.ttl).as_secs(),
            jti: uuid::Uuid::new_v4().to_string(),
            role,
        };
        let token = jsonwebtoken::encode(&header, &claims, &keys.signing);
        token.map_err(|error| Error::Internal(format!("signing: {error}")))
    }

    /// Whom a token names, if it is one of ours and valid now.
    pub(crate) fn verify(&self, token: &str) -> Option<Access> {
        let hash: [u8; 32] = Sha256::digest(token).into();
        if let Some(known) = self.verified.get(&hash)
            && Arc::ptr_eq(&known.keys, &self.keys.load())
            && Time::now().as_secs() <= known.exp + LEEWAY
        {
            return Some(known.access);
        }
        let header = jsonwebtoken::decode_header(token).ok()?;
        // Before any key is touched: "none" and HMAC with the public key end here.
        if header.alg != Algorithm::EdDSA {
            return None;
        }
        // Extensions that must be understood (RFC 7515, section 4.1.11): none is.
        if header.crit.is_some() {
            return None;
        }
        let kid = header.kid?;
        if !self.keys.load().accepted.contains_key(&kid) {
            self.look_for_new_keys();
        }
        let keys = self.keys.load_full();
        let key = keys.accepted.get(&kid)?;
        let decoded = jsonwebtoken::decode::<Claims>(token, key, &self.validation).ok()?;
        let begins = decoded.claims.nbf.max(decoded.claims.iat);
        if begins > Time::now().as_secs() + SKEW {
            return None;
        }
        let access = Access {
            user: decoded.claims.sub,
            session: decoded.claims.sid,
        };
        let exp = decoded.claims.exp;
        self.verified.insert(hash, Verified { access, exp, keys });
        Some(access)
    }

    /// Another process on this directory may have made a key. At most once in ten seconds, for
    /// unknown key ids cost an attacker nothing.
    fn look_for_new_keys(&self) {
        let now = Time::now().as_millis();
        let last = self.read_at.load(Ordering::Relaxed);
        let due = now - last >= 10_000;
        let turn = || {
            let (success, failure) = (Ordering::Relaxed, Ordering::Relaxed);
            self.read_at
                .compare_exchange(last, now, success, failure)
                .is_ok()
        };
        if due
            && turn()
            && let Err(error) = self.reload()
        {
            tracing::warn!(%error, "the signing keys in use stay");
        }
    }
}

/// Tokens that are remembered.
const REMEMBERED: u64 = 100_000;
/// For the end of a token, in seconds: for rounding. A token that has expired lives no longer because clocks may differ.
const LEEWAY: i64 = 1;
/// How far ahead the clock of the process that signed a token may be, in seconds. Only keys of ours sign, so a token that begins
/// later is no attack, and the one who has just logged in is not to be refused.
const SKEW: i64 = 30;

#[cfg(test)]
mod tests;
