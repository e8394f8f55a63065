//! The certificate that proves control over a name: TLS-ALPN-01 (RFC 8737).

use std::sync::Arc;

use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use rustls::crypto::ring::sign::any_ecdsa_type;
use rustls::sign::CertifiedKey;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::error::OrderError;

/// The protocol that an authority offers alone in its ClientHello (RFC 8737, section 4).
pub(crate) const ACME_TLS: &[u8] = b"acme-tls/1";

/// How long a SHA-256 is.
pub(super) const DIGEST: usize = 32;

/// Signed by itself, for this name alone, with the digest of the key authorization in a critical
/// extension (RFC 8737, section 3).
pub(super) fn certificate(
    name: &str,
    digest: &[u8; DIGEST],
) -> Result<Arc<CertifiedKey>, OrderError> {
    let signed = || {
        let mut params = CertificateParams::new([name.to_owned()])?;
        params.distinguished_name = DistinguishedName::new();
        params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
        let key = KeyPair::generate()?;
        params.self_signed(&key).map(|signed| (signed, key))
    };
    let (signed, key) = signed().map_err(|error| OrderError::Unusable(error.to_string()))?;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let key = any_ecdsa_type(&key).map_err(|error| OrderError::Unusable(error.to_string()))?;
    // Not compared with each other: rustls reads no certificate with this extension.
    let certified = CertifiedKey::new(vec![signed.der().clone()], key);
    Ok(Arc::new(certified))
}

#[cfg(test)]
mod tests {
    use x509_parser::prelude::GeneralName;

    use super::*;

    #[test]
    fn it_holds_the_name_and_the_digest() {
        let key = certificate("a.example", &[7; DIGEST]).unwrap();
        let (_, parsed) = x509_parser::parse_x509_certificate(&key.cert[0]).unwrap();
        let names = parsed.subject_alternative_name().unwrap().unwrap();
        let expected = [GeneralName::DNSName("a.example")];
        assert_eq!(names.value.general_names, expected);
        let extension = parsed
            .extensions()
            .iter()
            .find(|one| one.oid.to_id_string() == "1.3.6.1.5.5.7.1.31")
            .unwrap();
        assert!(extension.critical);
        // An OCTET STRING of 32 bytes.
        assert_eq!(extension.value[..2], [4, 32]);
        assert_eq!(extension.value[2..], [7; DIGEST]);
    }
}
