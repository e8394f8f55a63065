//! Keys that two servers share (RFC 8945).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chassis::config::{Diagnostic, Located};
use ring::hmac;

use super::config::{TsigAlgorithm, TsigConfig};
use crate::zone::Name;

/// A key. It is never printed.
pub struct Key {
    pub(super) name: Name,
    pub(super) algorithm: TsigAlgorithm,
    pub(super) hmac: hmac::Key,
}

/// Keys by their names.
pub type Keys = BTreeMap<Name, Arc<Key>>;

/// Shorter keys can be guessed (RFC 8945, 10: as long as the output at least).
const SHORTEST: usize = 16;

impl TsigAlgorithm {
    /// Its name as a domain name in wire form (RFC 8945, 6).
    pub(super) fn wire(self) -> &'static [u8] {
        match self {
            Self::HmacSha256 => b"\x0bhmac-sha256\x00",
            Self::HmacSha384 => b"\x0bhmac-sha384\x00",
            Self::HmacSha512 => b"\x0bhmac-sha512\x00",
        }
    }

    fn hmac(self) -> hmac::Algorithm {
        match self {
            Self::HmacSha256 => hmac::HMAC_SHA256,
            Self::HmacSha384 => hmac::HMAC_SHA384,
            Self::HmacSha512 => hmac::HMAC_SHA512,
        }
    }
}

impl Key {
    /// A key of its octets.
    pub fn new(name: Name, algorithm: TsigAlgorithm, secret: &[u8]) -> Self {
        Self {
            name,
            algorithm,
            hmac: hmac::Key::new(algorithm.hmac(), secret),
        }
    }

    /// Octets of a signature.
    pub(super) fn length(&self) -> usize {
        self.hmac.algorithm().digest_algorithm().output_len()
    }

    /// The octets of a TSIG record of this key that tells no error.
    pub(super) fn record_length(&self) -> usize {
        // Type, class, TTL and length; time, fudge, lengths, id, error.
        self.name.len() + 10 + self.algorithm.wire().len() + 16 + self.length()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.name)
    }
}

/// Reads keys.
pub(super) fn compile(
    configs: &BTreeMap<Located<String>, TsigConfig>,
    mistakes: &mut Vec<Diagnostic>,
) -> Keys {
    let mut keys = Keys::new();
    for (written, config) in configs {
        let Some(name) = Name::from_text(written) else {
            mistakes.push(written.wrong(format!("`{}` is not a name", **written)));
            continue;
        };
        match STANDARD.decode(config.secret.expose().trim()) {
            Err(_) => mistakes.push(config.secret.wrong("the key is not base64")),
            Ok(secret) if secret.len() < SHORTEST => {
                let what = format!("a key has {SHORTEST} octets at least");
                let help = "`openssl rand -base64 32` makes one";
                mistakes.push(config.secret.wrong(what).help(help));
            }
            Ok(secret) => {
                let key = Key::new(name.clone(), config.algorithm, &secret);
                if keys.insert(name, Arc::new(key)).is_some() {
                    mistakes.push(written.wrong(format!("the key `{}` is there twice", **written)));
                }
            }
        }
    }
    keys
}
