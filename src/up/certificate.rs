//! A self-signed certificate for the TLS listener.

use std::fs;
use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, DnType, KeyPair};

use super::UpError;
use super::folder::Folder;

const NAMES: [&str; 5] = [
    "localhost",
    "api.tidegate.test",
    "*.tidegate.test",
    "127.0.0.1",
    "::1",
];
const VALID: Duration = Duration::from_secs(365 * 24 * 3600);

/// Makes a certificate when there is none, or when the one there will soon be out of date.
pub(super) fn ensure(folder: &Folder) -> Result<(), UpError> {
    let certificate = folder.path("tls/cert.pem");
    let age = fs::metadata(&certificate)
        .and_then(|metadata| metadata.modified())
        .ok()
        .and_then(|made| SystemTime::now().duration_since(made).ok());
    if age.is_some_and(|age| age < VALID / 2) && folder.path("tls/key.pem").exists() {
        return Ok(());
    }
    let mut params = CertificateParams::new(NAMES.map(String::from).to_vec())?;
    params
        .distinguished_name
        .push(DnType::CommonName, "tidegate up");
    let now = SystemTime::now();
    params.not_before = (now - Duration::from_secs(3600)).into();
    params.not_after = (now + VALID).into();
    let key = KeyPair::generate()?;
    let signed = params.self_signed(&key)?;
    folder.write_private("tls/key.pem", &key.serialize_pem())?;
    folder.write_private("tls/cert.pem", &signed.pem())
}
