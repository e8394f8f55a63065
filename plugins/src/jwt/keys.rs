//! Public keys, each bound to the algorithms that it may verify (RFC 8725, section 3.1).

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chassis::config::Diagnostic;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};

use super::config::KeyConfig;

/// A set of keys. Each set has its own generation, so that a token verified with an older set is verified anew.
pub(super) struct Keys {
    by_id: HashMap<String, Key>,
    generation: u64,
}

pub(super) struct Key {
    pub(super) decoding: DecodingKey,
    pub(super) algorithms: Vec<Algorithm>,
}

const RSA: [Algorithm; 6] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];

impl Keys {
    fn new(by_id: HashMap<String, Key>) -> Self {
        static GENERATION: AtomicU64 = AtomicU64::new(1);
        Self {
            by_id,
            generation: GENERATION.fetch_add(1, Relaxed),
        }
    }

    /// Keys written in the configuration.
    pub(super) fn inline(keys: &[KeyConfig]) -> Result<Self, Diagnostic> {
        let mut by_id = HashMap::new();
        for key in keys {
            let pem = key.pem.as_bytes();
            let read = DecodingKey::from_ed_pem(pem)
                .map(|key| (key, vec![Algorithm::EdDSA]))
                .or_else(|_| {
                    DecodingKey::from_ec_pem(pem).map(|key| {
                        let is_p256 = key.try_get_as_bytes().is_ok_and(|point| point.len() <= 65);
                        let algorithm = if is_p256 {
                            Algorithm::ES256
                        } else {
                            Algorithm::ES384
                        };
                        (key, vec![algorithm])
                    })
                })
                .or_else(|_| DecodingKey::from_rsa_pem(pem).map(|key| (key, RSA.to_vec())));
            let (decoding, algorithms) = read.map_err(|_| {
                key.pem
                    .wrong("not a public key in PEM")
                    .help("`-----BEGIN PUBLIC KEY-----` of Ed25519, P-256, P-384 or RSA")
            })?;
            if algorithms == RSA && !has_fit_modulus(&decoding) {
                return Err(key.pem.wrong("an RSA key must have 2048 to 8192 bits"));
            }
            let key_of_id = Key {
                decoding,
                algorithms,
            };
            if by_id.insert(key.id.clone(), key_of_id).is_some() {
                return Err(key
                    .pem
                    .wrong(format!("the key id `{}` is used twice", key.id)));
            }
        }
        Ok(Self::new(by_id))
    }

    /// The usable keys of a JSON Web Key Set; symmetric and unknown ones are left out.
    pub(super) fn from_jwks(set: &JwkSet) -> Self {
        let keys = set.keys.iter().enumerate().filter_map(|(at, jwk)| {
            let id = jwk
                .common
                .key_id
                .clone()
                .unwrap_or_else(|| format!("#{at}"));
            Some((id, usable(jwk)?))
        });
        Self::new(keys.collect())
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// The keys that may have signed: the one of this id, or all when the token names none.
    pub(super) fn candidates<'a>(
        &'a self,
        id: Option<&'a str>,
        algorithm: Algorithm,
    ) -> impl Iterator<Item = &'a Key> {
        self.by_id
            .iter()
            .filter(move |(key_id, _)| id.is_none_or(|id| id == *key_id))
            .map(|(_, key)| key)
            .filter(move |key| key.algorithms.contains(&algorithm))
            .take(8)
    }

    pub(super) fn knows(&self, id: Option<&str>) -> bool {
        id.is_none_or(|id| self.by_id.contains_key(id))
    }
}

fn usable(jwk: &Jwk) -> Option<Key> {
    if !matches!(
        jwk.common.public_key_use,
        None | Some(PublicKeyUse::Signature)
    ) {
        return None;
    }
    let algorithms = match &jwk.algorithm {
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
            vec![Algorithm::EdDSA]
        }
        AlgorithmParameters::EllipticCurve(key) => match key.curve {
            EllipticCurve::P256 => vec![Algorithm::ES256],
            EllipticCurve::P384 => vec![Algorithm::ES384],
            _ => return None,
        },
        AlgorithmParameters::RSA(_) => match jwk.common.key_algorithm {
            Some(named) => {
                let named = named.to_string().parse().ok();
                vec![named.filter(|one| RSA.contains(one))?]
            }
            None => RSA.to_vec(),
        },
        _ => return None,
    };
    let decoding = DecodingKey::from_jwk(jwk).ok()?;
    let is_rsa = matches!(jwk.algorithm, AlgorithmParameters::RSA(_));
    (!is_rsa || has_fit_modulus(&decoding)).then_some(Key {
        decoding,
        algorithms,
    })
}

/// Whether an RSA key has a length that tokens may be signed with: from 2048 bits (RFC 7518,
/// section 3.3) to the 8192 that verifying can do. Others would be refused with each token.
fn has_fit_modulus(key: &DecodingKey) -> bool {
    let Ok(jwk) = Jwk::from_decoding_key(key, None) else {
        return false;
    };
    let AlgorithmParameters::RSA(parameters) = jwk.algorithm else {
        return false;
    };
    let modulus = URL_SAFE_NO_PAD.decode(parameters.n).unwrap_or_default();
    let bytes = modulus.iter().skip_while(|byte| **byte == 0).count();
    (256..=1024).contains(&bytes)
}
