//! A certificate that was issued, with its key: one PEM file.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use instant_acme::CertificateIdentifier;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::error::OrderError;
use super::renewal::Validity;

/// A certificate with its chain and key, ready to be served.
pub(super) struct Issued {
    pub(super) key: Arc<CertifiedKey>,
    pub(super) validity: Validity,
    /// How its authority knows it (RFC 9773, section 4.1), if it can be told.
    pub(super) identifier: Option<CertificateIdentifier<'static>>,
}

impl Issued {
    /// Reads a private key and a chain that begins with its certificate.
    pub(super) fn from_pem(pem: &[u8]) -> Result<Self, OrderError> {
        let unusable = |why: String| OrderError::Unusable(why);
        let chain: Vec<_> = CertificateDer::pem_slice_iter(pem)
            .collect::<Result<_, _>>()
            .map_err(|error| unusable(error.to_string()))?;
        let key =
            PrivateKeyDer::from_pem_slice(pem).map_err(|error| unusable(error.to_string()))?;
        let first = chain
            .first()
            .ok_or_else(|| unusable("there is none".into()))?;
        let validity = validity(first).ok_or_else(|| unusable("it cannot be read".into()))?;
        let identifier = CertificateIdentifier::try_from(first)
            .map(CertificateIdentifier::into_owned)
            .ok();
        let provider = rustls::crypto::ring::default_provider();
        let key = CertifiedKey::from_der(chain, key, &provider)
            .map_err(|error| unusable(error.to_string()))?;
        Ok(Self {
            key: Arc::new(key),
            validity,
            identifier,
        })
    }
}

fn validity(certificate: &CertificateDer<'_>) -> Option<Validity> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let validity = parsed.validity();
    Some(Validity {
        not_before: moment(validity.not_before.timestamp()),
        not_after: moment(validity.not_after.timestamp()),
    })
}

fn moment(timestamp: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(u64::try_from(timestamp).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    fn certificate(key: &KeyPair) -> String {
        let mut params = CertificateParams::new(["a.example".to_owned()]).unwrap();
        params.not_before = date_time_ymd(2026, 1, 1);
        params.not_after = date_time_ymd(2026, 3, 1);
        params.self_signed(key).unwrap().pem()
    }

    #[test]
    fn key_and_chain_are_one_file() {
        let key = KeyPair::generate().unwrap();
        let pem = key.serialize_pem() + &certificate(&key);
        let issued = Issued::from_pem(pem.as_bytes()).unwrap();
        assert_eq!(issued.key.cert.len(), 1);
        let life = issued
            .validity
            .not_after
            .duration_since(issued.validity.not_before);
        assert_eq!(life.unwrap(), Duration::from_secs(59 * 24 * 3600));
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let [key, other] = [(); 2].map(|()| KeyPair::generate().unwrap());
        let pem = other.serialize_pem() + &certificate(&key);
        assert!(Issued::from_pem(pem.as_bytes()).is_err());
    }

    #[test]
    fn half_a_file_is_refused() {
        let key = KeyPair::generate().unwrap();
        for pem in [key.serialize_pem(), certificate(&key), String::new()] {
            assert!(Issued::from_pem(pem.as_bytes()).is_err());
        }
    }
}
