//! Who may pass in the suite `policy`: tokens, and what verifies them.

use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{EncodingKey, Header, encode};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519};

use crate::error::Error;

pub(crate) const ISSUER: &str = "tidegate";
pub(crate) const AUDIENCE: &str = "bench";
pub(crate) const KEY_ID: &str = "bench";

/// Requests a second of one client: so many that none is refused, so that only counting costs.
pub(crate) const RATE: u32 = 1_000_000;

/// How tokens are signed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Algorithm {
    /// ECDSA on P-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

/// A key pair for tokens, and how they are verified.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    /// How tokens are signed.
    pub(crate) algorithm: Algorithm,
    /// Whether a token that was verified is remembered, where the proxy can.
    remember: bool,
    public: String,
    private: String,
}

impl Policy {
    /// With a new key.
    pub(crate) fn new(algorithm: Algorithm, remember: bool) -> Result<Self, Error> {
        let kind = match algorithm {
            Algorithm::Es256 => &PKCS_ECDSA_P256_SHA256,
            Algorithm::EdDsa => &PKCS_ED25519,
        };
        let key = KeyPair::generate_for(kind).map_err(|error| Error::Load(error.to_string()))?;
        Ok(Self {
            algorithm,
            remember,
            public: key.public_key_pem(),
            private: key.serialize_pem(),
        })
    }

    /// The public key, in PEM.
    pub(crate) fn public_pem(&self) -> &str {
        &self.public
    }

    /// How many verified tokens may be remembered. With one, and tokens that take turns, each is
    /// verified.
    pub(crate) fn remembered(&self) -> u32 {
        if self.remember { 10_000 } else { 1 }
    }

    /// A token of this user, valid for an hour.
    pub(crate) fn token(&self, user: u32) -> Result<String, Error> {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let claims = serde_json::json!({
            "sub": format!("{user}"), "iss": ISSUER, "aud": AUDIENCE, "exp": now.as_secs() + 3600,
        });
        let pem = self.private.as_bytes();
        let (algorithm, key) = match self.algorithm {
            Algorithm::Es256 => (
                jsonwebtoken::Algorithm::ES256,
                EncodingKey::from_ec_pem(pem),
            ),
            Algorithm::EdDsa => (
                jsonwebtoken::Algorithm::EdDSA,
                EncodingKey::from_ed_pem(pem),
            ),
        };
        let mut header = Header::new(algorithm);
        header.kid = Some(KEY_ID.into());
        let token = key.and_then(|key| encode(&header, &claims, &key));
        token.map_err(|error| Error::Load(format!("a token: {error}")))
    }

    /// The script that verifies a token in njs: the key is imported once a worker, as far as njs
    /// lets it, and signature, issuer, audience and end are checked.
    pub(crate) fn njs(&self) -> String {
        let lines = self.public.lines().filter(|line| !line.starts_with('-'));
        let key: String = lines.collect();
        NJS.replace("KEY", &key)
            .replace("ISSUER", ISSUER)
            .replace("AUDIENCE", AUDIENCE)
    }
}

const NJS: &str = r#"
const kind = { name: 'ECDSA', namedCurve: 'P-256' };
const der = Buffer.from('KEY', 'base64');
let imported;

async function verify(r) {
    try {
        const parts = r.headersIn.Authorization.slice(7).split('.');
        const claims = JSON.parse(Buffer.from(parts[1], 'base64url'));
        if (!imported) imported = await crypto.subtle.importKey('spki', der, kind, false, ['verify']);
        const signature = Buffer.from(parts[2], 'base64url');
        const signed = Buffer.from(parts[0] + '.' + parts[1]);
        const sound = await crypto.subtle.verify({ name: 'ECDSA', hash: 'SHA-256' }, imported, signature, signed);
        const holds = claims.iss === 'ISSUER' && claims.aud === 'AUDIENCE' && claims.exp > Date.now() / 1000;
        r.return(sound && holds ? 204 : 401);
    } catch (e) {
        r.return(401);
    }
}

export default { verify };
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_algorithms_sign() {
        for algorithm in [Algorithm::Es256, Algorithm::EdDsa] {
            let policy = Policy::new(algorithm, true).expect("a key can be made");
            let token = policy.token(1).expect("it signs");
            assert_eq!(token.split('.').count(), 3, "{algorithm:?}");
        }
    }

    #[test]
    fn the_script_has_the_key_and_no_placeholder() {
        let policy = Policy::new(Algorithm::Es256, true).expect("a key can be made");
        let script = policy.njs();
        assert!(
            !script.contains("'KEY'") && !script.contains("ISSUER"),
            "{script}"
        );
    }
}
