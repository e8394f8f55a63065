//! The signing keys: Ed25519 keys in a directory, one PKCS #8 PEM file each.
//!
//! The last file by name signs; all are published and accepted, so a new key can follow an old
//! one without a token refused. Taking a file away ends its key at the next reload.

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::{DecodePrivateKey, EncodePrivateKey, spki::der::pem::LineEnding};
use jsonwebtoken::{DecodingKey, EncodingKey};
use sha2::{Digest, Sha256};

use crate::Error;

/// All keys of one reading of the directory.
pub(super) struct Keyset {
    /// The id of the key that signs.
    pub(super) kid: String,
    pub(super) signing: EncodingKey,
    pub(super) accepted: HashMap<String, DecodingKey>,
    /// The JWK set (RFC 7517), ready to send.
    pub(super) jwks: String,
}

impl Keyset {
    /// Reads the directory. Makes it and its first key if they are missing, and another key if
    /// the newest is older than `rotate_after` (zero: never).
    pub(super) fn read(dir: &Path, rotate_after: Duration) -> Result<Self, Error> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
        made.map_err(|error| keys_error(dir, error))?;
        let files = key_files(dir)?;
        let due = match files.last() {
            None => true,
            Some(newest) => !rotate_after.is_zero() && age(newest) >= rotate_after,
        };
        if due {
            create_key(dir, &files)?;
        }
        let mut keys = Vec::new();
        for file in key_files(dir)? {
            let pem = fs::read_to_string(&file).map_err(|error| keys_error(&file, error))?;
            let key = SigningKey::from_pkcs8_pem(&pem);
            // The error's own text could quote the file.
            let key = key.map_err(|_| keys_error(&file, "not an Ed25519 key in PKCS #8 PEM"))?;
            keys.push(key);
        }
        Self::from_keys(&keys).ok_or_else(|| keys_error(dir, "no key could be used"))
    }

    fn from_keys(keys: &[SigningKey]) -> Option<Self> {
        let newest = keys.last()?;
        let mut accepted = HashMap::new();
        let mut published = Vec::new();
        for key in keys {
            let public = key.verifying_key();
            let x = URL_SAFE_NO_PAD.encode(public.as_bytes());
            let kid = thumbprint(&x);
            published.push(serde_json::json!({
                "kty": "OKP", "crv": "Ed25519", "x": x, "kid": kid, "use": "sig", "alg": "EdDSA",
            }));
            accepted.insert(kid, DecodingKey::from_ed_der(public.as_bytes()));
        }
        let x = URL_SAFE_NO_PAD.encode(newest.verifying_key().as_bytes());
        Some(Self {
            kid: thumbprint(&x),
            signing: EncodingKey::from_ed_der(newest.to_pkcs8_der().ok()?.as_bytes()),
            accepted,
            jwks: serde_json::json!({ "keys": published }).to_string(),
        })
    }
}

/// The thumbprint of an Ed25519 key (RFC 7638 section 3, RFC 8037 appendix A.3).
fn thumbprint(x: &str) -> String {
    let members = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
    URL_SAFE_NO_PAD.encode(Sha256::digest(members))
}

/// The `.pem` files of the directory, by name.
fn key_files(dir: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(|error| keys_error(dir, error))? {
        let path = entry.map_err(|error| keys_error(dir, error))?.path();
        if path.extension().is_some_and(|extension| extension == "pem") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// How long ago the file was written; zero if the system cannot say.
fn age(file: &Path) -> Duration {
    let written = fs::metadata(file).and_then(|data| data.modified());
    let age = written.ok().and_then(|time| time.elapsed().ok());
    age.unwrap_or_default()
}

/// Writes a new key under a name after all others. It appears complete or not at all.
fn create_key(dir: &Path, existing: &[PathBuf]) -> Result<(), Error> {
    let key = SigningKey::from_bytes(&rand::random());
    let pem = key.to_pkcs8_pem(LineEnding::LF);
    let pem = pem.map_err(|error| keys_error(dir, error))?;
    let name = format!(
        "{}-{:08x}",
        jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ"),
        rand::random::<u32>()
    );
    let path = dir.join(format!("{name}.pem"));
    if existing.last().is_some_and(|last| *last > path) {
        return Err(keys_error(
            dir,
            "cannot add a key: the name of the newest is in the future",
        ));
    }
    let unfinished = dir.join(format!("{name}.tmp"));
    let write = || {
        let mut open = OpenOptions::new();
        let mut file = open
            .create_new(true)
            .write(true)
            .mode(0o600)
            .open(&unfinished)?;
        file.write_all(pem.as_bytes())?;
        file.sync_all()?;
        fs::rename(&unfinished, &path)?;
        File::open(dir)?.sync_all()
    };
    write().map_err(|error: std::io::Error| keys_error(&path, error))?;
    tracing::info!(file = %path.display(), "made a signing key");
    Ok(())
}

fn keys_error(path: &Path, why: impl ToString) -> Error {
    Error::Keys {
        path: path.to_owned(),
        why: why.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use tempfile::TempDir;

    use super::*;

    #[test]
    fn the_first_start_makes_a_private_key() {
        let home = TempDir::new().unwrap();
        let dir = home.path().join("keys");
        let first = Keyset::read(&dir, Duration::ZERO).unwrap();
        let again = Keyset::read(&dir, Duration::ZERO).unwrap();
        assert_eq!((first.kid, &first.jwks), (again.kid, &again.jwks));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&dir), 0o700);
        let files = key_files(&dir).unwrap();
        assert_eq!((files.len(), mode(&files[0])), (1, 0o600));
        assert!(
            !first.jwks.contains("\"d\""),
            "only public parts are published"
        );
    }

    #[test]
    fn an_old_key_is_followed_by_a_new_one_and_stays_accepted() {
        let dir = TempDir::new().unwrap();
        let first = Keyset::read(dir.path(), Duration::from_secs(3600)).unwrap();
        let files = key_files(dir.path()).unwrap();
        let earlier = dir.path().join("20200101T000000Z-00000000.pem");
        fs::rename(&files[0], &earlier).unwrap();
        let written = std::time::SystemTime::now() - Duration::from_secs(7200);
        File::open(&earlier).unwrap().set_modified(written).unwrap();

        let second = Keyset::read(dir.path(), Duration::from_secs(3600)).unwrap();
        assert_ne!(second.kid, first.kid);
        assert_eq!(second.accepted.len(), 2);
        assert!(second.accepted.contains_key(&first.kid));
    }

    #[test]
    fn a_file_that_is_no_key_is_named_and_not_quoted() {
        let dir = TempDir::new().unwrap();
        fs::write(dir.path().join("a.pem"), "secret text").unwrap();
        let error = Keyset::read(dir.path(), Duration::ZERO)
            .err()
            .unwrap()
            .to_string();
        assert!(
            error.contains("a.pem") && !error.contains("secret"),
            "{error}"
        );
    }

    #[test]
    fn thumbprints_follow_rfc_8037() {
        // RFC 8037, appendix A.3.
        let kid = thumbprint("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo");
        assert_eq!(kid, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }
}
