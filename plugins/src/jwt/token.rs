//! Reading a token out of a request, and checking its signature and claims.

use std::time::Duration;

use http::header;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Validation, decode, decode_header};
use serde::Deserialize;

use super::keys::Keys;
use crate::exchange::Identity;
use crate::head::RequestHead;

/// Why a request has no valid token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Missing,
    Malformed,
    UnknownKey,
    Algorithm,
    Signature,
    Expired,
    Claims,
    /// There are no keys yet to check with: our fault, not the client's.
    NoKeys,
}

impl Refusal {
    /// For metrics.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::UnknownKey => "unknown_key",
            Self::Algorithm => "algorithm",
            Self::Signature => "signature",
            Self::Expired => "expired",
            Self::Claims => "claims",
            Self::NoKeys => "no_keys",
        }
    }

    /// For clients: enough to know whether a new token would help.
    pub(super) fn told_to_clients(self) -> &'static str {
        match self {
            Self::Missing => "an access token is needed",
            Self::Expired => "the access token has expired",
            _ => "the access token is not valid",
        }
    }
}

/// What a token must fulfil.
pub(super) struct Checks {
    validation: Validation,
}

/// A token that was verified.
pub(super) struct Claims {
    pub(super) identity: Identity,
    /// `exp`, in Unix seconds.
    pub(super) expires: u64,
}

#[derive(Deserialize)]
struct RawClaims {
    sub: Option<String>,
    exp: serde_json::Number,
    #[serde(flatten)]
    rest: serde_json::Map<String, serde_json::Value>,
}

/// The longest token that is looked at.
const MAX_TOKEN: usize = 8 * 1024;

impl Checks {
    pub(super) fn new(issuer: Option<&str>, audience: Option<&str>, leeway: Duration) -> Self {
        let mut validation = Validation::new(Algorithm::EdDSA);
        let mut required = vec!["exp"];
        if let Some(issuer) = issuer {
            validation.set_issuer(&[issuer]);
            required.push("iss");
        }
        match audience {
            Some(audience) => {
                validation.set_audience(&[audience]);
                required.push("aud");
            }
            None => validation.validate_aud = false,
        }
        validation.set_required_spec_claims(&required);
        validation.validate_nbf = true;
        validation.leeway = leeway.as_secs();
        // "On or after" `exp` a token is over (RFC 7519, section 4.1.4).
        validation.reject_tokens_expiring_in_less_than = 1;
        Self { validation }
    }

    pub(super) fn leeway_seconds(&self) -> u64 {
        self.validation.leeway
    }

    /// Checks signature and claims.
    pub(super) fn verify(&self, token: &[u8], keys: &Keys) -> Result<Claims, Refusal> {
        // `none` is no algorithm of this library: such a header does not even parse.
        let header = decode_header(token).map_err(|_| Refusal::Malformed)?;
        let id = header.kid.as_deref();
        if !keys.knows(id) {
            return Err(Refusal::UnknownKey);
        }
        let mut refusal = Refusal::Algorithm;
        for key in keys.candidates(id, header.alg) {
            let mut validation = self.validation.clone();
            validation.algorithms = vec![header.alg];
            match decode::<RawClaims>(token, &key.decoding, &validation) {
                Ok(data) => return claims(data.claims),
                Err(error) => {
                    refusal = match error.kind() {
                        ErrorKind::ExpiredSignature => return Err(Refusal::Expired),
                        ErrorKind::InvalidSignature => Refusal::Signature,
                        ErrorKind::InvalidToken | ErrorKind::Base64(_) => Refusal::Malformed,
                        ErrorKind::Json(_) | ErrorKind::Utf8(_) => Refusal::Malformed,
                        _ => Refusal::Claims,
                    };
                }
            }
        }
        Err(refusal)
    }
}

fn claims(raw: RawClaims) -> Result<Claims, Refusal> {
    let expires = raw
        .exp
        .as_u64()
        .or_else(|| raw.exp.as_f64().map(|exp| exp as u64));
    let subject = raw.sub.unwrap_or_default();
    let mut claims = raw.rest;
    claims.insert("sub".into(), subject.clone().into());
    Ok(Claims {
        identity: Identity { subject, claims },
        expires: expires.ok_or(Refusal::Claims)?,
    })
}

/// The token of `Authorization: Bearer TOKEN`. Its bytes are looked at when it is verified.
pub(super) fn bearer(head: &RequestHead) -> Result<&[u8], Refusal> {
    let mut values = head.header_all(&header::AUTHORIZATION);
    let value = values.next().ok_or(Refusal::Missing)?;
    if values.next().is_some() {
        return Err(Refusal::Malformed);
    }
    let value = value.as_bytes();
    let space = value.iter().position(|byte| *byte == b' ');
    let (scheme, token) = value.split_at(space.ok_or(Refusal::Malformed)?);
    if !scheme.eq_ignore_ascii_case(b"bearer") {
        return Err(Refusal::Missing);
    }
    let token = token.trim_ascii();
    match token.len() {
        1..=MAX_TOKEN => Ok(token),
        _ => Err(Refusal::Malformed),
    }
}
