//! Secrets that the service itself has to read again: sealed with a key that is not in the database.
//!
//! The key is a file beside the signing keys, `secrets.key`. It is made at the first start, and every
//! process on the same data needs the same: without it, what it sealed is lost.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use store::Id;

use crate::Error;

/// Seals and opens.
pub(super) struct Vault(LessSafeKey);

impl Vault {
    /// Reads the key of a directory; makes it if it is missing.
    pub(super) fn open(dir: &Path) -> Result<Self, Error> {
        let path = dir.join("secrets.key");
        let fail = |why: String| Error::Keys {
            path: path.clone(),
            why,
        };
        if !path.exists() {
            create(dir, &path).map_err(|error| fail(error.to_string()))?;
        }
        let text = fs::read_to_string(&path).map_err(|error| fail(error.to_string()))?;
        let bytes = URL_SAFE_NO_PAD.decode(text.trim()).unwrap_or_default();
        let key = UnboundKey::new(&AES_256_GCM, &bytes);
        let key = key.map_err(|_| fail("not 32 bytes in base64url".to_owned()))?;
        Ok(Self(LessSafeKey::new(key)))
    }

    /// `version | nonce | ciphertext and tag`; it opens for the same user only.
    pub(super) fn seal(&self, user: Id, secret: &[u8]) -> Result<Vec<u8>, Error> {
        let nonce: [u8; NONCE_LEN] = rand::random();
        let mut sealed = secret.to_vec();
        let bound = Nonce::assume_unique_for_key(nonce);
        self.0
            .seal_in_place_append_tag(bound, aad(user), &mut sealed)
            .map_err(|_| Error::Internal("a secret could not be sealed".to_owned()))?;
        Ok([&[VERSION], &nonce[..], &sealed].concat())
    }

    pub(super) fn unseal(&self, user: Id, sealed: &[u8]) -> Result<Vec<u8>, Error> {
        let opened = || {
            let (nonce, sealed) = sealed
                .strip_prefix(&[VERSION])?
                .split_at_checked(NONCE_LEN)?;
            let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
            let mut secret = sealed.to_vec();
            let length = self
                .0
                .open_in_place(nonce, aad(user), &mut secret)
                .ok()?
                .len();
            secret.truncate(length);
            Some(secret)
        };
        opened().ok_or_else(|| {
            Error::Internal(
                "a secret does not open: was it sealed with another secrets.key?".to_owned(),
            )
        })
    }
}

fn aad(user: Id) -> Aad<[u8; 8]> {
    Aad::from(user.as_i64().to_be_bytes())
}

/// Writes a new key, complete or not at all. Where another process was faster, its key stays.
fn create(dir: &Path, path: &Path) -> std::io::Result<()> {
    let unfinished = dir.join(format!("secrets-{:08x}.tmp", rand::random::<u32>()));
    let mut open = OpenOptions::new();
    let mut file = open
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(&unfinished)?;
    let text = URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
    let written = file
        .write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::hard_link(&unfinished, path));
    fs::remove_file(&unfinished)?;
    match written {
        Ok(()) => tracing::info!(file = %path.display(), "made the key of stored secrets"),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    File::open(dir)?.sync_all()
}

/// Of what is sealed: a later one may have another key or cipher.
const VERSION: u8 = 1;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use tempfile::TempDir;

    use super::*;

    #[test]
    fn what_is_sealed_opens_for_its_user_with_its_key_only() {
        let dir = TempDir::new().unwrap();
        let (anna, berta) = ("1".parse().unwrap(), "2".parse().unwrap());
        let sealed = Vault::open(dir.path())
            .unwrap()
            .seal(anna, b"secret")
            .unwrap();
        assert!(!sealed.windows(6).any(|part| part == b"secret"));
        let again = Vault::open(dir.path()).unwrap();
        assert_eq!(again.unseal(anna, &sealed).unwrap(), b"secret");
        assert_ne!(again.seal(anna, b"secret").unwrap(), sealed);
        assert!(again.unseal(berta, &sealed).is_err());
        let mut changed = sealed.clone();
        changed[20] ^= 1;
        for wrong in [&changed[..], &sealed[1..], &sealed[..5], &[]] {
            assert!(again.unseal(anna, wrong).is_err());
        }
        let other = TempDir::new().unwrap();
        let other = Vault::open(other.path()).unwrap();
        assert!(other.unseal(anna, &sealed).is_err());
    }

    #[test]
    fn the_key_is_private_and_a_broken_one_is_named() {
        let dir = TempDir::new().unwrap();
        Vault::open(dir.path()).unwrap();
        let path = dir.path().join("secrets.key");
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        fs::write(&path, "hidden").unwrap();
        let error = Vault::open(dir.path()).err().unwrap().to_string();
        assert!(
            error.contains("secrets.key") && !error.contains("hidden"),
            "{error}"
        );
    }
}
