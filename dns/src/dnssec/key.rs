//! Keys: what signs a zone, and how others know it (RFC 4034, sections 2 and 5).

use std::fmt;

use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a zone is signed. Signatures of both have 64 octets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Algorithm {
    /// ECDSA on the curve P-256 with SHA-256 (RFC 6605): every validator knows it.
    #[default]
    #[serde(rename = "ecdsa-p256")]
    EcdsaP256,
    /// Ed25519 (RFC 8080): nearly every validator knows it.
    #[serde(rename = "ed25519")]
    Ed25519,
}

/// What a key signs.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The keys of the zone: the parent's DS record is of this one.
    Ksk,
    /// Everything else.
    Zsk,
}

/// A key that can sign.
pub struct Key {
    role: Role,
    algorithm: Algorithm,
    pair: Pair,
    public: Box<[u8]>,
    tag: u16,
}

/// What a signature is.
pub(crate) type Signature = [u8; SIGNATURE];

/// The key cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the private key cannot be used: {0}")]
pub struct KeyError(String);

enum Pair {
    EcdsaP256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// Octets of a signature.
pub(crate) const SIGNATURE: usize = 64;
/// The digest of DS records that is in use (RFC 4509).
const DS_SHA256: u8 = 2;

impl Algorithm {
    /// Its number (RFC 8624, 3.1).
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::EcdsaP256 => 13,
            Self::Ed25519 => 15,
        }
    }

    /// As it is written in a configuration.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::EcdsaP256 => "ecdsa-p256",
            Self::Ed25519 => "ed25519",
        }
    }

    /// A new private key, as PKCS #8.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn generate(self) -> Result<Vec<u8>, KeyError> {
        let random = SystemRandom::new();
        let made = match self {
            Self::EcdsaP256 => {
                EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)
            }
            Self::Ed25519 => Ed25519KeyPair::generate_pkcs8(&random),
        };
        let made = made.map_err(|_| KeyError("there are no random numbers".into()))?;
        Ok(made.as_ref().to_vec())
    }
}

impl Role {
    /// As it is written.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ksk => "ksk",
            Self::Zsk => "zsk",
        }
    }
}

impl Key {
    /// Reads a private key.
    ///
    /// # Errors
    /// When it is none of this algorithm.
    pub fn new(role: Role, algorithm: Algorithm, pkcs8: &[u8]) -> Result<Self, KeyError> {
        let (pair, public) = match algorithm {
            Algorithm::EcdsaP256 => {
                let pair = EcdsaKeyPair::from_pkcs8(
                    &ECDSA_P256_SHA256_FIXED_SIGNING,
                    pkcs8,
                    &SystemRandom::new(),
                );
                let pair = pair.map_err(|error| KeyError(error.to_string()))?;
                // A point that is not compressed has a 4 in front, which is left out (RFC 6605, 4).
                let point = pair.public_key().as_ref();
                let public = point.get(1..).unwrap_or_default().into();
                (Pair::EcdsaP256(pair), public)
            }
            Algorithm::Ed25519 => {
                let pair = Ed25519KeyPair::from_pkcs8(pkcs8);
                let pair = pair.map_err(|error| KeyError(error.to_string()))?;
                let public = pair.public_key().as_ref().into();
                (Pair::Ed25519(pair), public)
            }
        };
        let mut key = Self {
            role,
            algorithm,
            pair,
            public,
            tag: 0,
        };
        key.tag = tag(&key.dnskey());
        Ok(key)
    }

    /// What it signs.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Its algorithm.
    pub(crate) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The number that signatures name it by; two keys may have the same.
    pub fn tag(&self) -> u16 {
        self.tag
    }

    /// Signs.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub(crate) fn sign(&self, message: &[u8]) -> Result<Signature, KeyError> {
        let signature = match &self.pair {
            Pair::EcdsaP256(pair) => pair
                .sign(&SystemRandom::new(), message)
                .map_err(|_| KeyError("there are no random numbers".into()))?,
            Pair::Ed25519(pair) => pair.sign(message),
        };
        let signature = signature.as_ref().try_into();
        signature.map_err(|_| KeyError("a signature has another length".into()))
    }

    /// The data of its DNSKEY record, and of its CDNSKEY record (RFC 4034, 2.1; RFC 7344, 3.2).
    pub(crate) fn dnskey(&self) -> Vec<u8> {
        // Zone key, and secure entry point; the protocol is 3.
        let flags = match self.role {
            Role::Ksk => 257_u16,
            Role::Zsk => 256,
        };
        let [high, low] = flags.to_be_bytes();
        [&[high, low, 3, self.algorithm.number()], &*self.public].concat()
    }

    /// The data of its DS record, and of its CDS record (RFC 4034, 5.1; RFC 7344, 3.1).
    pub(crate) fn ds(&self, owner: &[u8]) -> Vec<u8> {
        let digested = digest(&SHA256, &[owner, &self.dnskey()].concat());
        let [high, low] = self.tag.to_be_bytes();
        let head = [high, low, self.algorithm.number(), DS_SHA256];
        [&head, digested.as_ref()].concat()
    }

    /// What tells it from all other keys.
    pub fn public(&self) -> &[u8] {
        &self.public
    }
}

/// RFC 4034, appendix B.
fn tag(dnskey: &[u8]) -> u16 {
    let pairs = dnskey.chunks(2).map(|pair| match pair {
        [high, low] => u32::from(u16::from_be_bytes([*high, *low])),
        [high] => u32::from(*high) << 8,
        _ => 0,
    });
    let sum: u32 = pairs.sum();
    (sum + (sum >> 16)) as u16
}

impl fmt::Debug for Key {
    /// Without what is secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("role", &self.role)
            .field("algorithm", &self.algorithm)
            .field("tag", &self.tag)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    /// The key of RFC 8080, section 6.1, as PKCS #8.
    fn of_rfc_8080() -> Key {
        let seed = STANDARD
            .decode("ODIyNjAzODQ2MjgwODAxMjI2NDUxOTAyMDQxNDIyNjI=")
            .unwrap();
        let head = [
            0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22,
            0x04, 0x20,
        ];
        let pkcs8 = [&head[..], &seed].concat();
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&pkcs8).unwrap();
        let public = pair.public_key().as_ref().into();
        let mut key = Key {
            role: Role::Ksk,
            algorithm: Algorithm::Ed25519,
            pair: Pair::Ed25519(pair),
            public,
            tag: 0,
        };
        key.tag = tag(&key.dnskey());
        key
    }

    #[test]
    fn the_key_of_an_rfc_has_its_tag_and_ds_record() {
        let key = of_rfc_8080();
        let dnskey = key.dnskey();
        assert_eq!(dnskey[..4], [1, 1, 3, 15]);
        let public = "l02Woi0iS8Aa25FQkUd9RMzZHJpBoRQwAQEX1SxZJA4=";
        assert_eq!(STANDARD.encode(&dnskey[4..]), public);
        assert_eq!(key.tag(), 3613);
        let ds = key.ds(b"\x07example\x03com\0");
        assert_eq!(ds[..4], [0x0e, 0x1d, 15, 2]);
        assert_eq!(ds[4..8], [0x3a, 0xa5, 0xab, 0x37]);
        assert_eq!(ds[32..], [0xe7, 0x9a, 0x30, 0x4b][..]);
    }

    #[test]
    fn new_keys_sign_and_differ_and_hide_what_is_secret() {
        for algorithm in [Algorithm::EcdsaP256, Algorithm::Ed25519] {
            let pkcs8 = algorithm.generate().unwrap();
            let key = Key::new(Role::Zsk, algorithm, &pkcs8).unwrap();
            assert_eq!(key.sign(b"x").unwrap().len(), SIGNATURE);
            assert_eq!(key.dnskey()[..4], [1, 0, 3, algorithm.number()]);
            assert_ne!(algorithm.generate().unwrap(), pkcs8);
            assert!(format!("{key:?}").len() < 90, "{key:?}");
            let other = match algorithm {
                Algorithm::EcdsaP256 => Algorithm::Ed25519,
                Algorithm::Ed25519 => Algorithm::EcdsaP256,
            };
            assert!(Key::new(Role::Zsk, other, &pkcs8).is_err());
        }
    }
}
