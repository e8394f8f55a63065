//! Access tokens, sound and forged, and certificates.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rcgen::{CertificateParams, KeyPair, PKCS_ED25519};
use serde_json::{Value, json};

/// A signing key.
#[derive(Debug)]
pub struct Signer {
    /// The public key, in PEM.
    pub public: String,
    /// The private key, PKCS #8 in PEM.
    pub private: String,
}

impl Signer {
    /// A new Ed25519 key.
    ///
    /// # Panics
    /// Never: making a key has no input that could be wrong.
    pub fn new() -> Self {
        let key = KeyPair::generate_for(&PKCS_ED25519).expect("Ed25519 is known");
        Self {
            public: key.public_key_pem(),
            private: key.serialize_pem(),
        }
    }

    /// A key that was made elsewhere.
    ///
    /// # Panics
    /// When it is no private key in PEM.
    pub fn from_private(pem: &str) -> Self {
        let key = KeyPair::from_pkcs8_pem_and_sign_algo(pem, &PKCS_ED25519);
        let key = key.expect("it is a private key in PEM");
        Self {
            public: key.public_key_pem(),
            private: pem.to_owned(),
        }
    }

    /// A token of these claims, signed with this key.
    ///
    /// # Panics
    /// When the private key is not one.
    pub fn sign(&self, key_id: &str, claims: &Value) -> String {
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = Some(key_id.to_owned());
        let key = EncodingKey::from_ed_pem(self.private.as_bytes()).expect("it is an Ed25519 key");
        encode(&header, claims, &key).expect("claims are JSON")
    }

    /// A token "signed" by HMAC with the public key as its secret, as in the attack on careless verifiers.
    ///
    /// # Panics
    /// Never: any bytes can be an HMAC secret.
    pub fn sign_with_public_key(&self, key_id: &str, claims: &Value) -> String {
        hmac(key_id, claims, self.public.as_bytes())
    }
}

impl Default for Signer {
    fn default() -> Self {
        Self::new()
    }
}

/// A token signed by HMAC.
///
/// # Panics
/// Never: any bytes can be an HMAC secret.
pub fn hmac(key_id: &str, claims: &Value, secret: &[u8]) -> String {
    let mut header = Header::new(Algorithm::HS256);
    header.kid = Some(key_id.to_owned());
    encode(&header, claims, &EncodingKey::from_secret(secret)).expect("claims are JSON")
}

/// A token that claims to need no signature.
pub fn unsigned(key_id: &str, claims: &Value) -> String {
    let header = json!({ "alg": "none", "typ": "JWT", "kid": key_id });
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.", part(&header), part(claims))
}

/// What a token says in one of its parts: 0 is the header, 1 the claims.
///
/// # Panics
/// When it is no JWT.
pub fn part(token: &str, number: usize) -> Value {
    let text = token.split('.').nth(number).expect("a JWT has three parts");
    let bytes = URL_SAFE_NO_PAD.decode(text).expect("in base64url");
    serde_json::from_slice(&bytes).expect("of JSON")
}

/// Claims that are sound for the next minute.
pub fn claims(subject: &str) -> Value {
    json!({ "iss": "test", "aud": "test", "sub": subject, "exp": unix_now() + 60 })
}

/// Seconds since 1970.
///
/// # Panics
/// When the clock stands before 1970.
pub fn unix_now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("it is later than 1970").as_secs()
}

/// Writes a new self-signed certificate for `127.0.0.1` and its key.
///
/// # Panics
/// When they cannot be written.
pub fn write_certificate(certificate: &Path, key: &Path) {
    let names = ["localhost", "127.0.0.1"].map(String::from);
    let params = CertificateParams::new(names).expect("these are names");
    let pair = KeyPair::generate().expect("a key can be made");
    let signed = params.self_signed(&pair).expect("a key can sign");
    std::fs::write(key, pair.serialize_pem()).expect("the key can be written");
    std::fs::write(certificate, signed.pem()).expect("the certificate can be written");
}
